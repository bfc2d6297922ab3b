"""A hub with sinks at work, on a clock that never rests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.operations import sinks
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.sinks import Sinks, SinkView
from holdfast_hub.sinks.opening import outlet
from holdfast_hub.sinks.outlet import Labels, Outlet, Refusal
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.readings import Reading
from support.clock import FakeClock, eventually
from support.device_data import Sender
from support.hubs import add_site, hub_at, put
from support.waiting import HANGS_S

START: Final = 1_700_000_000_000


def document(name: str, destination: str, batch: int = 1000, zone: str = "") -> str:
    where = (
        "  placement:\n    fieldSelector:\n      matchExpressions:\n"
        f"      - {{key: zone, operator: In, values: [{zone}]}}\n"
    )
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Sink\nmetadata:\n  name: {name}\nspec:\n"
        f"  batch: {batch}\n  {destination}\n{where if zone else ''}"
    )


@asynccontextmanager
async def working(folder: Path, *documents: str, **other: Any) -> AsyncIterator[Hub]:
    """Yield a hub whose sinks run, on a clock that never rests."""
    clock = FakeClock()
    with hub_at(folder, clock) as hub:
        await hub.load()
        if not await sinks.list_sinks(hub):
            await add_site(hub)
            await add_site(hub, "east-1", "east")
            await put(hub, *documents)
        async with anyio.create_task_group() as group:
            group.start_soon(Sinks(hub, jitter=lambda: 1.0, **other).run)
            group.start_soon(run_time, clock)
            names = {each.name for each in await sinks.list_sinks(hub)}
            await eventually(lambda: names <= set(hub.sinks))
            yield hub
            group.cancel_scope.cancel()


async def run_time(clock: FakeClock) -> None:
    while True:
        await anyio.sleep(0.002)
        clock.advance(0.5)


def readings(first: int, count: int, device: str = "press") -> list[Reading]:
    return [Reading(device, "t", START + n, n) for n in range(first, first + count)]


async def drained(hub: Hub, name: str = "lake") -> SinkView:
    """Return the sink once nothing waits for it."""

    async def view() -> SinkView | None:
        found = await sinks.show_sink(hub, name)
        return found if found.sent_at and not found.lag else None

    found: SinkView = await eventually(view, f"the sink {name!r} to have handed over everything")
    return found


class Deaf:
    """A destination whose receipt the hub does not live to hear: `delivered` when the other side has a batch."""

    def __init__(self, delivered: anyio.Event, held: Outlet) -> None:
        self._delivered = delivered
        self._held = held

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        await self._held.send(entries)
        self._delivered.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def close(self) -> None:
        await self._held.close()


async def killed_after_delivery(folder: Path, text: str, *given: Reading) -> None:
    """Let a hub with one sink hand readings over, and end before it has noted that."""
    delivered = anyio.Event()

    def deaf(name: str, spec: Spec, clock: Clock, labels: Labels) -> Outlet:
        return Deaf(delivered, outlet(name, spec, clock, labels))

    async with working(folder, text, open_outlet=deaf) as hub:
        Sender(hub).send(*given)
        with anyio.fail_after(HANGS_S):
            await delivered.wait()
        assert (await sinks.show_sink(hub, "lake")).sent == 0
