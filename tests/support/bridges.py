"""Bridges as a target has them, what runs them, and brokers' clients that say and hear."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from holdfast_edge.core.observed import Observed
from holdfast_edge.ingest.bridges import run_bridges
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.providers.bridges.provider import BridgeProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Delivery, Options, Subscription
from holdfast_protocol.wire import target
from holdfast_protocol.wire.messages import BridgeWay
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource
from support.clock import Running
from support.mosquitto import Mosquitto
from support.sources import Hasty, scope
from support.waiting import HANGS_S

_EARS = count()


def bridge(name: str = "cloud", **spec: Any) -> Resource:
    spec = {key.rstrip("_"): value for key, value in spec.items()}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "Bridge", "metadata": {"name": name}, "spec": spec}
    return target.resource(body)


class Sink:
    """An outbox that forgets."""

    async def append_readings(self, readings: Any, **_: Any) -> None: ...
    async def append_records(self, stream: str, records: Any) -> None: ...
    def cursor(self, name: str) -> bytes:
        return b""


class Site(NamedTuple):
    provider: BridgeProvider
    bridges: Bridges
    tee: Tee

    async def apply(self, *resources: Resource) -> None:
        """Apply the bridges among these."""
        for each in resources:
            if each.kind == "Bridge":
                await self.provider.apply(each, scope(*resources))

    async def look(self, *resources: Resource) -> Observed:
        """Return how the first of these is."""
        return (await self.provider.observe(resources[:1], scope(*resources)))[resources[0].key]

    def is_connected(self, name: str = "cloud") -> bool:
        state = self.bridges.states.get(ResourceKey(f"Bridge/{name}"))
        return state is not None and state.is_connected

    def way(self, way: str, name: str = "cloud") -> BridgeWay:
        state = self.bridges.states.get(ResourceKey(f"Bridge/{name}"))
        return state.status(0.0).ways.get(way, BridgeWay()) if state is not None else BridgeWay()


@asynccontextmanager
async def running_bridges(folder: Path, local: Mosquitto | None = None, site: str = "site-1") -> AsyncIterator[Site]:
    """Yield a provider beside the loops of what it keeps in `folder`, at a site with this broker."""
    bridges = Bridges(folder)
    tee = Tee(Sink(), bridges.wanting_readings)
    place = Place(site, "node-1", local.host if local else "", local.port if local else 0)

    async def loop() -> None:
        await run_bridges(bridges, paho.dial, tee, Hasty(), place)

    async with Running(loop):
        yield Site(BridgeProvider(bridges, place), bridges, tee)


class Heard:
    """What a client was sent, in order."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    @property
    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.deliveries]

    @property
    def topics(self) -> list[str]:
        return [each.topic for each in self.deliveries]


@asynccontextmanager
async def hearing(broker: Mosquitto, *filters: str, version: int = 5) -> AsyncIterator[Heard]:
    """Yield what a subscriber hears, over restarts of its broker."""
    heard, ready, name = Heard(), anyio.Event(), f"ear-{next(_EARS)}"

    async def listen() -> None:
        while True:
            options = Options(
                client_id=name, port=broker.port, version=version, with_properties=version == 5, queue=100_000
            )
            connection = paho.dial(options)
            try:
                await connection.connect()
                await connection.subscribe([Subscription(each, as_published=True) for each in filters])
                ready.set()
                while True:
                    delivery = await connection.receive()
                    heard.deliveries.append(delivery)
                    connection.acknowledge(delivery)
            except LinkLost:
                await anyio.sleep(0.02)
            finally:
                await connection.close()

    async with Running(listen):
        with anyio.fail_after(HANGS_S):
            await ready.wait()
        yield heard


async def say(broker: Mosquitto, messages: Sequence[tuple[str, bytes]], *, retain: bool = False) -> None:
    """Publish, and return when all of it is acknowledged."""
    connection = paho.dial(Options(client_id="mouth", port=broker.port))
    await connection.connect()
    async with anyio.create_task_group() as group:
        for topic, payload in messages:

            async def one(topic: str = topic, payload: bytes = payload) -> None:
                await connection.publish(topic, payload, retain=retain)

            group.start_soon(one)
    await connection.close()


def numbers(many: int, prefix: str = "devices/a/n", start: int = 0) -> list[tuple[str, bytes]]:
    return [(prefix, b"%d" % number) for number in range(start, start + many)]


def remote_of(broker: Mosquitto, **more: Any) -> dict[str, Any]:
    return {"host": broker.host, "port": broker.port, **more}
