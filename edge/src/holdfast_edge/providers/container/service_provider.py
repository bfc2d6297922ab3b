"""Services on one container engine: names in a network of the site's Pods, which lead to the Pods themselves.

Pods made while the site has Services are in that network from their start; this brings in those that were there before,
and mends what others changed. A port of the machine is published by the Pod, when it is made.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast_edge.providers.container.builder import network_name
from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.hearing import run_hearing
from holdfast_edge.providers.container.planner import Planner
from holdfast_edge.providers.disk.failures import unseen
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, Problem, ProviderError
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.kinds.pods.reading import KINDS, workload
from holdfast_protocol.kinds.pods.service import Service, misled, selecting, service
from holdfast_protocol.kinds.pods.shape import refuse
from holdfast_protocol.kinds.pods.specification import SITE, aliases
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.runtime.clock import Clock, SystemClock
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource


class ServiceProvider:
    kinds: tuple[str, ...] = ("Service",)

    def __init__(self, engine_url: str, site: SiteName, *, clock: Clock | None = None) -> None:
        self._engine = Engine(engine_url)
        self._site = site
        self._network = network_name(site)
        self._clock = clock or SystemClock()
        self._planner = Planner(site, Path("/"), Rules())

    def check(self, resource: Resource, scope: Scope) -> None:
        asked = service(resource.key, resource.body)
        problems: list[Problem] = []
        selected = [each for each in _workloads(scope) if asked.selects(each.namespace, each.labels)]
        for each in selected:
            problems += misled(asked, each.pod)
            if each.pod.host_network and asked.node_ports:
                problems.append(Problem(f"the ports of {each.key} are the machine's already", path="spec.type"))
        pods = sum(each.replicas for each in selected)
        if pods > 1:
            problems.extend(
                Problem(
                    f"{pods} Pods would need it, and one engine gives a port to one",
                    path=f"spec.ports[{number}].nodePort",
                    hint="one replica, or the Service in front of a proxy of your own",
                )
                for number, port in enumerate(asked.ports)
                if port.node_port
            )
        if problems:
            refuse(problems, reason="BadService")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for a name."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await self._found()
        there = await self._engine.has_network(self._network)
        seen = {}
        for resource in resources:
            try:
                self.check(resource, scope)
                seen[resource.key] = self._observed(service(resource.key, resource.body), found, there)
            except ProviderError as error:
                seen[resource.key] = unseen(resource.key, error, exists=there)
        return seen

    async def apply(self, resource: Resource, scope: Scope) -> None:
        """Bring every Pod of the site into the network, under the names of all Services that select it."""
        self.check(resource, scope)
        asked = service(resource.key, resource.body)
        await self._engine.ensure_network(self._network, {SITE: self._site})
        for each in await self._found():
            if self._wrong(asked, each):
                await self._engine.connect(self._network, each.id, self._names(each, scope))

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """[inv: only-owned-things-are-removed] The names of this Service; the network when nobody is in it."""
        try:
            gone = set(service(key, body).aliases)
        except PermanentError:  # never applied, so nothing was made
            return
        for each in await self._found():
            names = each.networks.get(self._network, frozenset())
            if names & gone:
                kept = [name for name in sorted(names - gone) if not any(name.endswith(f".{one}") for one in gone)]
                await self._engine.connect(self._network, each.id, kept)
        await self._engine.remove_idle_network(self._network)

    async def run_watch(self, wake: Wake) -> None:
        await run_hearing(self._engine, self._site, self._clock, wake)

    async def close(self) -> None:
        await self._engine.close()

    async def _found(self) -> list[Found]:
        """Return what runs of the site's and has a network of its own: one container of each Pod."""
        sight = await self._engine.look({SITE: self._site})
        return [
            each
            for each in sight.containers
            if each.state == "running"
            and not each.initial
            and each.network not in ("host", "none")
            and not each.network.startswith("container:")
        ]

    def _wrong(self, asked: Service, each: Found) -> str:
        """Return what is wrong with one Pod's part in a Service, "" for nothing."""
        names = each.networks.get(self._network)
        if names is None:
            return f"{each.name} is not in the network {self._network}"
        selected = asked.selects(_namespace(each), each.labels)
        if selected and not names >= set(asked.aliases):
            return f"{each.name} does not answer to {asked.name}"
        if not selected and names & set(asked.aliases):
            return f"{each.name} answers to {asked.name} and is not selected"
        return ""

    def _names(self, each: Found, scope: Scope) -> list[str]:
        selected = selecting(self._planner.services(scope), _namespace(each), each.labels)
        made = scope.resources.get(ResourceKey(each.resource))
        if made is None or made.kind != "StatefulSet":
            return sorted({name for one in selected for name in one.aliases})
        asked = workload(made)
        return list(aliases(asked, asked.pod_name(int(each.replica)), selected))

    def _observed(self, asked: Service, found: Sequence[Found], there: bool) -> Observed:
        differences = [] if there else [f"the network {self._network} is absent"]
        differences += [wrong for each in found if there and (wrong := self._wrong(asked, each))]
        selected = [each for each in found if asked.selects(_namespace(each), each.labels)]
        unpublished = [
            f"{port.node_port}"
            for port in asked.node_ports
            if not any(each.bindings.get(f"{port.port}/{port.protocol.lower()}") == port.node_port for each in selected)
        ]
        endpoints = [{"container": each.name, "ip": each.address} for each in selected[:32]]
        reason, message = "", f"{len(selected)} Pods"
        if not selected:
            reason, message = "NoEndpoints", "no Pod that runs has its labels"
        elif unpublished:
            reason, message = "Publishing", f"not published yet: {', '.join(unpublished)}"
        return Observed(
            asked.key,
            there,
            tuple(differences),
            "progressing" if reason == "Publishing" else "ready",
            reason,
            message,
            detail={"network": self._network, "endpoints": endpoints},
            status={"loadBalancer": {}},
        )


def _namespace(each: Found) -> str:
    parts = each.resource.split("/")
    return parts[1] if len(parts) == 3 else ""


def _workloads(scope: Scope) -> list[Workload]:
    found = []
    for resource in scope.resources.values():
        if resource.key.partition("/")[0] in KINDS:
            try:
                found.append(workload(resource))
            except PermanentError:  # says so itself, and runs nowhere
                continue
    return found
