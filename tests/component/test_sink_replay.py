"""What a sink is given that was there before it, what it is given again, and what retention took before it had it."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from holdfast_hub.blueprint import sink
from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.operations import sinks
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.operations.sinks import SinkView
from holdfast_hub.sinks.outlet import NOTHING, Labels, Outlet, Refusal
from holdfast_hub.store import replays
from holdfast_hub.store import sinks as store
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import NotFoundError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.device_data import Sender
from support.hubs import add_site, hub_at, put
from support.sinks import START, document, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
HOOK = "webhook: {url: 'http://127.0.0.1:9/'}"


class Shelf:
    """A destination that keeps what it is given, and is away as often as it is told."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.away = 0

    def open(self, name: str, spec: Spec, clock: Clock, labels: Labels) -> Outlet:
        return self

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        if self.away:
            self.away -= 1
            raise TransientError("away", reason="Away")
        self.kept += [each.row.value for each in entries]  # type: ignore[misc]
        return NOTHING

    async def close(self) -> None:
        pass


async def quiet(hub: Hub) -> SinkView:
    """Return the sink once nothing is left for it."""
    with anyio.fail_after(HANGS_S):
        while True:
            view = await sinks.show_sink(hub, "lake")
            if not view.lag and not view.replaying and view.state == "Waiting":
                return view
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("start", "wanted"),
    [("beginning", list(range(12))), ("2023-11-14T22:13:20.004Z", list(range(4, 12))), ("", [10, 11])],
)
async def test_a_new_sink_begins_where_it_says(tmp_path: Path, start: str, wanted: list[int]) -> None:
    shelf = Shelf()
    with hub_at(tmp_path) as idle:
        await add_site(idle)
        sender = Sender(idle)
        for first in range(0, 10, 2):
            sender.send(*readings(first, 2))
        await put(idle, document("lake", HOOK + (f"\n  from: '{start}'" if start else ""), batch=3))
    async with working(tmp_path, open_outlet=shelf.open) as hub:
        sender.hub = hub
        await quiet(hub)
        sender.send(*readings(10, 2))
        while len(shelf.kept) < len(wanted):
            await anyio.sleep(0.01)
        view = await quiet(hub)
    assert sorted(shelf.kept) == wanted
    assert (view.sent, view.missed) == (len(wanted), 0)


@pytest.mark.invariant("commit-before-ack")
async def test_a_replay_goes_on_where_it_was_after_failures_and_restarts_and_holds_up_nothing(tmp_path: Path) -> None:
    shelf = Shelf()
    async with working(tmp_path, document("lake", HOOK, batch=2), open_outlet=shelf.open) as hub:
        sender = Sender(hub)
        for first in range(0, 40, 2):
            sender.send(*readings(first, 2))
        while len(shelf.kept) < 40:
            await anyio.sleep(0.01)
        await quiet(hub)
        shelf.kept.clear()
        view = await sinks.replay(hub, "lake", None, author="ann")
        assert view.replaying <= 40  # it has begun
        while not shelf.kept:
            await anyio.sleep(0.001)
    async with working(tmp_path, open_outlet=shelf.open) as hub:
        shelf.away = 2
        sender.hub = hub
        sender.send(*readings(40, 2))
        while len(set(shelf.kept)) < 42:
            await anyio.sleep(0.01)
        view = await quiet(hub)
        assert view.sent >= 82
    assert set(shelf.kept) == set(range(42))
    assert len(shelf.kept) <= 42 + 4  # at most what was under way comes twice


async def test_a_replay_from_a_time_gives_what_is_later_and_a_second_one_takes_its_place(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await add_site(hub)
        await add_site(hub, "east-1", "east")
        await put(hub, document("lake", HOOK))
        sender = Sender(hub)
        for first in range(0, 10, 5):
            sender.send(*readings(first, 5))
        Sender(hub, "east-1").send(*readings(100, 5))
        with hub.streams.database.transaction() as connection:
            store.begin(connection, "lake", 1)
        assert (await sinks.replay(hub, "lake", None, author="ann")).replaying == 15
        assert (await sinks.replay(hub, "lake", START + 7, author="ann")).replaying == 15
        found: list[object] = []
        with hub.streams.database.transaction() as connection:
            while (taken := replays.take(connection, "lake", frozenset({SITE}), 100)) is not None:
                found += [each.row.value for each in taken.entries]
                replays.advance(connection, "lake", taken, len(taken.entries), 0, 1)
        assert found == [7, 8, 9]
        with pytest.raises(NotFoundError):
            await sinks.replay(hub, "sea", None, author="ann")


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_retention_took_before_a_sink_had_it_is_counted_for_that_sink(tmp_path: Path) -> None:
    shelf = Shelf()
    day = 86_400_000
    policy = "apiVersion: holdfast.io/v1alpha1\nkind: Retention\nmetadata: {name: short}\nspec: {maxAge: 1d}\n"
    async with working(tmp_path, document("lake", HOOK), policy, open_outlet=shelf.open) as hub:
        shelf.away = 10_000
        now = hub.now()
        Sender(hub).send(*(Reading("press", "t", now - n * day, n) for n in (9, 8, 7)), Reading("press", "t", now, 0))
        assert await retire_readings(hub) == 3
        shelf.away = 0
        view = await quiet(hub)
        assert (view.sent, view.missed) == (1, 3)
        await sinks.replay(hub, "lake", None, author="ann")
        view = await quiet(hub)
    assert (view.sent, view.missed, shelf.kept) == (2, 6, [0, 0])


async def test_what_a_fork_took_back_is_not_missed(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        with hub.streams.database.transaction() as connection:
            store.begin(connection, "lake", 1)
        Sender(hub).send(*readings(0, 5))
        with hub.streams.database.transaction() as connection:
            connection.execute("DELETE FROM readings")
            connection.execute("DELETE FROM segments")
            taken = store.take(connection, "lake", None, 100)
        assert taken is not None
        assert (taken.entries, taken.missed) == ([], 0)


@pytest.mark.parametrize("start", ["yesterday", "2023-11-14T22:13:20", "1700000000"])
def test_a_beginning_that_is_no_time_is_refused(start: str) -> None:
    assert [each.path for each in sink.flaws({"webhook": {"url": "http://a"}, "from": start})] == [("from",)]
