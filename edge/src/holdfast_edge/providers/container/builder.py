"""Carrying out steps at the engine. Each may be begun again after a kill anywhere: what is there already is taken up."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Semaphore
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from holdfast_edge.providers.container import volumes
from holdfast_edge.providers.container.engine import Engine, Sight
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.images import WAIT_S, Images
from holdfast_edge.providers.container.planner import Planned
from holdfast_edge.providers.container.steps import Step, should_run
from holdfast_protocol.errors import PermanentError, ProviderError
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.kinds.pods.podspec import RestartPolicy
from holdfast_protocol.kinds.pods.pull_secrets import Login
from holdfast_protocol.kinds.pods.specification import SITE, ContainerPlan, PodPlan
from holdfast_protocol.wire.names import SiteName

T = TypeVar("T")


class Builder:
    def __init__(self, engine: Engine, rules: Rules, site: SiteName, turns: Semaphore | None = None) -> None:
        self._engine = engine
        self._rules = rules
        self._site = site
        self.images = Images(engine, turns)

    async def carry_out(self, plan: Sequence[Step], planned: Planned, sight: Sight) -> None:
        """Do a plan's steps: nothing is taken away before what is to stand in its place can be made."""
        pods = {pod.replica: pod for pod in planned.pods}
        found = {each.id: each for each in sight.containers}
        made = [step for step in plan if step.action in ("replace", "build")]
        names = await self.check([pods[step.replica] for step in made], planned.logins)
        gone = {each for step in plan if step.action in ("remove", "replace") for each in step.ids}
        await self.remove([found[each] for each in gone])
        for step in plan:
            if step.action == "replace":
                await anyio.to_thread.run_sync(volumes.remove_folder, pods[step.replica])

        async def built(step: Step) -> None:
            standing = {
                each.container: each
                for each in sight.containers
                if each.replica == str(step.replica) and each.id not in gone
            }
            await self.build(pods[step.replica], standing, planned.workload.pod.restart_policy, names)

        await _side_by_side(built, made)
        for step in plan:
            for each in step.ids:
                if step.action == "unpause":
                    await self._engine.unpause(each)
                elif step.action == "restart":
                    await self._engine.restart(each, found[each].grace_s)

    async def remove(self, containers: Iterable[Found]) -> None:
        """Remove containers side by side: each may take its time to end."""

        async def removed(each: Found) -> None:
            await self._engine.remove(each.id, each.grace_s)

        await _side_by_side(removed, containers)

    async def check(
        self, pods: Sequence[PodPlan], logins: Mapping[str, Login], wait_s: float | None = WAIT_S
    ) -> dict[str, str]:
        """See that all that Pods need is here, fetching images, and return the engine's names of these. Nothing that
        runs is touched. Raises ProviderError."""
        names: dict[str, str] = {}
        for pod in pods:
            for container in (*pod.init, *pod.containers):
                if container.image not in names:
                    names[container.image] = await self.images.ensure(container, logins, wait_s)
                await self._check_limits(container)
            await anyio.to_thread.run_sync(volumes.check_host_paths, pod, self._rules)
        return names

    async def _check_limits(self, container: ContainerPlan) -> None:
        if container.host.keys() & {"Memory", "NanoCpus"}:
            lacking = await self._engine.lacks(container.host)
            if lacking:
                raise PermanentError(
                    f"container {container.container}: this machine cannot limit {lacking}",
                    reason="LimitUnsupported",
                    hint="enable the kernel's memory and cpu control groups, or leave the limit out",
                )

    async def build(
        self, pod: PodPlan, standing: Mapping[str, Found], policy: RestartPolicy, names: Mapping[str, str]
    ) -> None:
        """Make and start what a Pod lacks: its next initContainer, or its containers once those have ended well; after
        the first, whose network they share, the others side by side."""
        await anyio.to_thread.run_sync(partial(volumes.make, pod))
        if not any(each.container in standing for each in pod.containers):
            for each in pod.init:
                there = standing.get(each.container)
                if there is None or there.state != "exited" or there.exit_code != 0:
                    number = there.id if there else await self._create(pod, each, "", names)
                    await self._engine.start(number)
                    return

        async def stood(each: ContainerPlan) -> str:
            there = standing.get(each.container)
            number = there.id if there else await self._create(pod, each, first, names)
            if there is None or should_run(policy, there):
                await self._engine.start(number)
            return number

        first = ""
        first = await stood(pod.containers[0])
        await _side_by_side(stood, pod.containers[1:])

    async def _create(self, pod: PodPlan, each: ContainerPlan, first: str, names: Mapping[str, str]) -> str:
        config: dict[str, Any] = each.config | {"Image": names.get(each.image, each.image)}
        if each.joins:
            config["HostConfig"] = each.host | {"NetworkMode": f"container:{first}"}
        elif pod.networked:
            network = network_name(self._site)
            await self._engine.ensure_network(network, {SITE: self._site})
            config["HostConfig"] = each.host | {"NetworkMode": network}
            aliases = list(pod.aliases) if each.container == pod.containers[0].container else []
            config["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": aliases}}}
        return await self._engine.create(each.name, config)


async def _side_by_side(do: Callable[[T], Awaitable[object]], every: Iterable[T]) -> None:
    """Do it for each at once, to the end; then raise the first ProviderError."""
    errors: list[ProviderError] = []

    async def tried(each: T) -> None:
        try:
            await do(each)
        except ProviderError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for each in every:
            group.start_soon(tried, each)
    if errors:
        raise errors[0]


def network_name(site: SiteName) -> str:
    """Return the name of the network in which a site's Pods find one another by the names of Services."""
    return f"holdfast-{site}"
