"""A provider over a small world in memory, with a log of every call and faults by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio

from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class FakeProvider:
    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds or ("File",)
        self.world: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []  # check, apply and remove; looks are counted
        self.looks = 0
        self.refuses: dict[str, Exception] = {}  # by key: raised by check
        self.unprepared: dict[str, list[Exception]] = {}  # by key: raised by prepare, one each time
        self.prepare_gate: anyio.Event | None = None  # prepare waits for it
        self.prepared: list[str] = []  # keys
        self.fails: dict[str, list[Exception]] = {}  # by key: raised by apply or remove, one each time
        self.blind: Exception | None = None  # raised by observe
        self.unready: dict[str, str] = {}  # by key: readiness
        self.statuses: dict[str, dict[str, Any]] = {}  # by key
        self.gate: anyio.Event | None = None  # apply and remove wait for it after they were logged
        self.look_gate: anyio.Event | None = None  # observe waits for it
        self.before_effect: Callable[[str, str], None] = lambda verb, key: None
        self.wakes: list[Wake] = []

    def check(self, resource: Resource, scope: Scope) -> None:
        self.calls.append(("check", resource.key))
        if resource.key in self.refuses:
            raise self.refuses[resource.key]

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        self.prepared.append(resource.key)
        if self.prepare_gate is not None:
            await self.prepare_gate.wait()
        if self.unprepared.get(resource.key):
            raise self.unprepared[resource.key].pop(0)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        self.looks += 1
        if self.look_gate is not None:
            await self.look_gate.wait()
        if self.blind is not None:
            raise self.blind
        return {resource.key: self._observed(resource) for resource in resources}

    def _observed(self, resource: Resource) -> Observed:
        body = self.world.get(resource.key)
        return Observed(
            key=resource.key,
            exists=body is not None,
            differences=() if body == resource.body else ("body: differs",),
            readiness=self.unready.get(resource.key, "ready"),  # type: ignore[arg-type]
            status=self.statuses.get(resource.key, {}),
        )

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await self._effect("apply", resource.key)
        self.world[resource.key] = resource.body

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        await self._effect("remove", key)
        self.world.pop(key, None)

    async def _effect(self, verb: str, key: str) -> None:
        self.calls.append((verb, key))
        self.before_effect(verb, key)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails.get(key):
            raise self.fails[key].pop(0)

    async def run_watch(self, wake: Wake) -> None:
        self.wakes.append(wake)
        await anyio.sleep_forever()

    def tell(self) -> None:
        """Something changed, as a watch notices it."""
        for wake in self.wakes:
            wake()

    async def close(self) -> None:
        self.calls.append(("close", ""))

    def changes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in ("apply", "remove")]
