"""DeviceSources as a target has them, and what runs them: the provider, its store and the ingest loops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from holdfast_edge.core.observed import Observed
from holdfast_edge.ingest.supervisor import run_sources
from holdfast_edge.ingest.taking import Sink
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.sources.provider import DeviceSourceProvider
from holdfast_edge.settings import Near
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.sources import Sources
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import Clock, SystemClock
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource
from support.clock import Running


class Hasty(SystemClock):
    """Reconnects at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


def source(name: str = "hall-a", **spec: Any) -> Resource:
    metadata = {"name": name}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "DeviceSource", "metadata": metadata, "spec": spec}
    return target.resource(body)


def secret(name: str, **texts: str) -> Resource:
    return target.resource({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts})


def scope(*resources: Resource) -> Scope:
    return Scope({each.key: each for each in resources})


class Site(NamedTuple):
    provider: DeviceSourceProvider
    sources: Sources

    async def apply(self, *resources: Resource) -> None:
        """Apply the DeviceSources among these."""
        for each in resources:
            if each.kind == "DeviceSource":
                await self.provider.apply(each, scope(*resources))

    async def look(self, *resources: Resource) -> Observed:
        """Return how the first of these is."""
        return (await self.provider.observe(resources[:1], scope(*resources)))[resources[0].key]

    def is_connected(self, name: str = "hall-a") -> bool:
        state = self.sources.states.get(ResourceKey(f"DeviceSource/{name}"))
        return state is not None and state.phase == "connected"

    def reason(self, name: str) -> str:
        """Return why a source takes nothing, "" for none."""
        state = self.sources.states.get(ResourceKey(f"DeviceSource/{name}"))
        return state.reason if state is not None else ""


@asynccontextmanager
async def running_sources(
    folder: Path, outbox: Sink, clock: Clock | None = None, orders: Orders | None = None, near: Near | None = None
) -> AsyncIterator[Site]:
    """Yield a provider beside the loops of what it keeps in `folder`."""
    sources = Sources(folder)

    async def loop() -> None:
        site = SiteName("site-1")
        await run_sources(sources, paho.dial, outbox, clock or Hasty(), site=site, orders=orders, near=near)

    async with Running(loop):
        yield Site(DeviceSourceProvider(sources), sources)
