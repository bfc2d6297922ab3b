"""A site's container providers on a real engine, with a clock that moves on with the machine's and can be set ahead."""

import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.container import provider as workloads
from holdfast_edge.providers.container.claim_provider import ClaimProvider
from holdfast_edge.providers.container.job_provider import JobProvider
from holdfast_edge.providers.container.provider import ContainerProvider
from holdfast_edge.providers.container.service_provider import ServiceProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import Resource, resource
from support.engine import IMAGE, RealEngine

FOREVER = ["sh", "-c", "trap exit TERM; while true; do sleep 3600 & wait $!; done"]


class ShiftedClock:
    """The machine's clock, and as much ahead or behind as a test says; what waits does so by the machine's."""

    def __init__(self) -> None:
        self._wall = self._boot = 0.0

    def wall(self) -> float:
        return time.time() + self._wall

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._boot

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def advance(self, seconds: float) -> None:
        self._wall += seconds
        self._boot += seconds

    def set_wall(self, wall: float) -> None:
        self._wall = wall - time.time()


class Site:
    def __init__(self, engine: RealEngine, state: Path) -> None:
        self.engine = engine
        self.state = state
        self.data = state.parent / "data"
        self.data.mkdir()
        self.name = SiteName("lyon")
        self.clock = ShiftedClock()
        self.resources: dict[str, Resource] = {}
        self.mirrors: dict[str, str] = {}
        self._roots = [str(self.data)]
        self._providers = self._equipped()

    def _equipped(self) -> list[Any]:
        rules = Rules(host_paths=tuple(self._roots))
        at: tuple[str, SiteName] = (self.engine.url, self.name)
        return [
            ContainerProvider(*at, self.state, rules=rules, mirrors=self.mirrors, clock=self.clock),
            JobProvider(*at, self.state, rules=rules, mirrors=self.mirrors, clock=self.clock),
            ServiceProvider(*at, clock=self.clock),
            ClaimProvider(*at, self.state),
        ]

    def provider_of(self, wanted: Resource) -> Any:
        return next(each for each in self._providers if wanted.kind in each.kinds)

    def allow(self, path: str) -> None:
        self._roots.append(path)
        self._providers = self._equipped()

    async def restart_agent(self) -> None:
        """Nothing is remembered but what is on disk and at the engine."""
        await self.close()
        self._providers = self._equipped()

    async def close(self) -> None:
        for each in self._providers:
            await each.close()

    def put(self, body: dict[str, Any]) -> Resource:
        made = resource(body)
        self.resources[made.key] = made
        return made

    @property
    def scope(self) -> Scope:
        return Scope({each.key: each for each in self.resources.values()})

    async def look(self, wanted: Resource) -> Observed:
        seen: Observed = (await self.provider_of(wanted).observe([wanted], self.scope))[wanted.key]
        return seen

    async def apply(self, wanted: Resource) -> Observed:
        provider = self.provider_of(wanted)
        provider.check(wanted, self.scope)
        await provider.apply(wanted, self.scope)
        return await self.look(wanted)

    async def remove(self, wanted: Resource) -> None:
        """Twice: what is gone already is no error."""
        for _ in range(2):
            await self.provider_of(wanted).remove(wanted.key, wanted.body)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            for each in self._providers:
                group.start_soon(each.run_watch, lambda: None)
            yield
            group.cancel_scope.cancel()

    def containers(self) -> list[dict[str, Any]]:
        """Everything of this site as the engine tells it, by name."""
        listed = self.engine.client.containers(all=True, filters={"label": f"holdfast.io/site={self.name}"})
        inspected = [self.engine.client.inspect_container(each["Id"]) for each in listed]
        return sorted(inspected, key=lambda each: str(each["Name"]))

    def ask(self, container: str, name: str) -> str:
        """Return the page /x that a container gets from who has a name. The static busybox resolves only by nslookup."""
        script = """
            address=$(busybox nslookup "$0" | busybox sed -n 's/^Address: //p' | busybox head -n 1)
            wget -q -O - "http://$address/x"
        """
        return self.engine.run_inside(container, "sh", "-c", script, name)

    def names(self, inspected: dict[str, Any]) -> list[str]:
        """Return what a container answers to in the site's network."""
        return inspected["NetworkSettings"]["Networks"][f"holdfast-{self.name}"]["Aliases"] or []

    def ask_machine(self, url: str) -> str:
        """Return what the machine itself gets from an address of its own."""
        inside = ["nsenter", f"--net=/proc/{self.engine.pid}/ns/net"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        command = [*inside, "busybox", "wget", "-q", "-O", "-", url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def hurried(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have an apply wait no longer than this for what it changed."""
    monkeypatch.setattr(workloads, "WAIT_S", seconds)


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "app", "image": IMAGE, "command": FOREVER, **fields}


def pod_spec(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"terminationGracePeriodSeconds": 1, "containers": list(containers)}


def labelled(app: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": app}}, "spec": spec}
