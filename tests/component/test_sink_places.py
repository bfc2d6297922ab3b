"""Where a sink stands among what is stored, from the moment its making was answered, and for which sites."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.operations import apply, sinks
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.sinks import Sinks
from holdfast_hub.sinks.outlet import NOTHING, Labels, Outlet, Refusal
from holdfast_hub.store import replays
from holdfast_hub.store import sinks as store
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.runtime.clock import Clock
from support.builders import SITE
from support.clock import FakeClock, Running, eventually
from support.device_data import Sender
from support.hubs import add_site, hub_at, put
from support.sinks import document, drained, readings, run_time

pytestmark = pytest.mark.anyio
HOOK = "webhook: {url: 'http://127.0.0.1:9/'}"


class Shelf:
    """A destination that keeps what it is given, with the labels of its site."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, object]] = []
        self.labels: Labels = lambda _: {}

    def open(self, name: str, spec: Spec, clock: Clock, labels: Labels) -> Outlet:
        self.labels = labels
        return self

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        self.kept += [(self.labels(each.series.site).get("line", ""), each.row.value) for each in entries]
        return NOTHING

    async def close(self) -> None:
        pass


@asynccontextmanager
async def resting(folder: Path, shelf: Shelf, *documents: str) -> AsyncIterator[tuple[Hub, FakeClock]]:
    """Yield a hub whose sinks have had one look, and their clock, which stands still."""
    clock = FakeClock()
    with hub_at(folder, clock) as hub:
        await hub.load()
        await add_site(hub)
        if documents:
            await put(hub, *documents)
        async with anyio.create_task_group() as group:
            group.start_soon(Sinks(hub, shelf.open, jitter=lambda: 1.0).run)
            await eventually(lambda: set(hub.sinks) == {"lake"} if documents else True)
            yield hub, clock
            group.cancel_scope.cancel()


async def kept(hub: Hub, shelf: Shelf, clock: FakeClock, count: int) -> list[object]:
    """Return what the shelf has once it has so much, and the hub knows it and has nothing left to hand over."""
    async with Running(partial(run_time, clock)):
        await eventually(lambda: len(shelf.kept) >= count, f"{count} readings")
        await drained(hub)
    return [value for _, value in shelf.kept]


@pytest.mark.invariant("every-loss-is-counted")
async def test_readings_of_a_site_that_is_placed_since_a_moment_are_handed_over(tmp_path: Path) -> None:
    shelf = Shelf()
    async with resting(tmp_path, shelf, document("lake", HOOK, zone="east")) as (hub, clock):
        await add_site(hub, "east-1", "east", line="a")
        Sender(hub, "east-1").send(*readings(0, 3))
        assert await kept(hub, shelf, clock, 3) == [0, 1, 2]
        assert {label for label, _ in shelf.kept} == {"a"}


async def test_a_reading_after_the_answer_to_its_making_is_a_new_sinks(tmp_path: Path) -> None:
    shelf = Shelf()
    async with resting(tmp_path, shelf) as (hub, clock):
        await put(hub, document("lake", HOOK))
        Sender(hub).send(*readings(0, 3))
        assert await kept(hub, shelf, clock, 3) == [0, 1, 2]


async def test_a_sink_that_is_deleted_and_made_again_at_once_is_a_new_one(tmp_path: Path) -> None:
    shelf = Shelf()
    async with resting(tmp_path, shelf, document("lake", HOOK)) as (hub, clock):
        Sender(hub).send(*readings(0, 3))
        assert await kept(hub, shelf, clock, 3) == [0, 1, 2]
        await eventually(lambda: hub.sinks["lake"].state == "Waiting")
        await apply.delete_object(hub, "Sink", "lake", author="ann")
        await put(hub, document("lake", HOOK + "\n  from: beginning"))
        assert await kept(hub, shelf, clock, 6) == [0, 1, 2] * 2
        assert (await sinks.show_sink(hub, "lake")).sent == 3


async def test_what_was_under_way_for_a_replay_takes_nothing_from_the_next_one(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await add_site(hub)
        Sender(hub).send(*readings(0, 3))
        with hub.streams.database.transaction() as connection:
            store.begin(connection, "lake", 1)
            assert replays.begin(connection, "lake", [SITE], replays.BEGINNING) == 3
            under_way = replays.take(connection, "lake", frozenset({SITE}), 100)
            assert under_way is not None
            assert replays.begin(connection, "lake", [SITE], replays.BEGINNING) == 3
            replays.advance(connection, "lake", under_way, 3, 0, 1)
            assert replays.waiting(connection) == {"lake": 3}


async def test_a_sink_that_is_gone_meanwhile_leaves_no_replay_to_the_next_of_its_name(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await add_site(hub)
        Sender(hub).send(*readings(0, 3))
        with hub.streams.database.transaction() as connection:
            assert replays.begin(connection, "lake", [SITE], replays.BEGINNING) == 0
            store.begin(connection, "lake", 1)
            assert replays.waiting(connection) == {}
