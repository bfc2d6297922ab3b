"""Bridges when the disk is full, connections go in the middle of things and messages are large."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from holdfast_edge.ingest import bridges as bridges_loop
from holdfast_edge.ingest.bridges import run_bridges
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.providers.bridges.provider import BridgeProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Kept, Sources
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import LinkLost, TransientError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.relay import give
from holdfast_protocol.relay.give import Giver, News
from holdfast_protocol.relay.opening import plan_of
from holdfast_protocol.relay.queue import Bounds, Entry, Queue, open_queue
from holdfast_protocol.relay.readings import Feed
from holdfast_protocol.relay.run import Relay
from holdfast_protocol.relay.take import Taker, Taking
from holdfast_protocol.runtime.link import run_link
from holdfast_protocol.runtime.mqtt import Connected, Connection, Options
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.readings import Reading
from support.bridges import Sink
from support.bridges import bridge as resource
from support.broker import FakeBroker
from support.clock import FakeClock, Running, eventually
from support.sources import Hasty, scope
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
KEY = ResourceKey("Bridge/cloud")
MIB = 1024 * 1024


def queue(folder: Path, size: int = 64 * MIB, **bounds: Any) -> Queue:
    return open_queue(folder / "q.db", Bounds(size, 1000, **bounds), Hasty())


@contextlib.contextmanager
def full_disk(held: Queue) -> Iterator[None]:
    """Let the queue's file grow no more."""

    def limit(pages: int) -> None:
        with held.database.reading() as connection:
            connection.execute(
                f"PRAGMA max_page_count={pages or connection.execute('PRAGMA page_count').fetchone()[0]}"
            )

    limit(0)
    try:
        yield
    finally:
        limit(1_000_000)


@pytest.mark.invariant("commit-before-ack")
async def test_what_a_lost_connection_kept_from_being_committed_is_taken_when_it_comes_again(tmp_path: Path) -> None:
    broker, held, problems, stands = FakeBroker(duplicate=0, drop=0), queue(tmp_path), list[str](), list[int]()
    want = bridge.wanted({"remote": {"host": "far"}, "out": [{"topic": "devices/#"}]}, "cloud")
    taker = Taker(Taking("out", want.out, "here", 5), held, Hasty(), lambda _, stand: stands.append(stand.received))
    taker.problem = problems.append
    lost = anyio.Event()

    async def lose() -> None:
        await lost.wait()
        raise LinkLost("the other task of this side saw it first", reason="Lost")

    async def serve(connection: Connection, connected: Connected) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lose)
            await taker.run(connection, connected)

    async with Running(lambda: run_link(broker.dial, lambda: Options(client_id="bridge"), serve, Hasty())):
        await eventually(lambda: bool(broker.subscribed("bridge")))
        with full_disk(held):
            broker.publish("devices/a", b"x" * 100_000)
            await eventually(lambda: bool(problems))
            lost.set()
            await eventually(lambda: not broker.unacknowledged("bridge") or "bridge" not in broker.clients)
            lost = anyio.Event()
        await eventually(lambda: bool(stands) or not broker.waiting("bridge"))
    assert stands == [1], "acknowledged, it is in the queue"
    held.close()


async def test_a_queue_on_a_full_disk_is_closed_all_the_same(tmp_path: Path) -> None:
    held = queue(tmp_path)
    held.put("out", [Entry("t", b"x")])

    def fail() -> None:
        raise TransientError("full", reason="DiskFull")

    held.tidy = fail  # type: ignore[assignment, method-assign]
    with contextlib.suppress(TransientError):
        held.close()
    with pytest.raises(Exception, match="closed"):
        held.database._connection.execute("SELECT 1")


class Silent:
    """A connection whose broker acknowledges nothing until it is told to."""

    def __init__(self) -> None:
        self.flying = 0
        self.most = 0
        self.answer = anyio.Event()
        self.lost = False

    async def publish(self, topic: str, payload: bytes, **_: Any) -> int:
        self.flying += len(payload)
        self.most = max(self.most, self.flying)
        await self.answer.wait()
        self.flying -= len(payload)
        if self.lost:
            raise LinkLost("gone", reason="Lost")
        return 0


def giver(held: Queue, clock: Any = None) -> Giver:
    return Giver("out", held, clock or Hasty(), News(), lambda *_: None, own="a/b", window=100, marks=False)


async def test_large_messages_on_their_way_are_bounded_in_bytes(tmp_path: Path) -> None:
    held, connection = queue(tmp_path), Silent()
    held.put("out", [Entry("t", bytes(MIB)) for _ in range(30)])
    async with anyio.create_task_group() as group:
        group.start_soon(giver(held).run, connection, Connected(False, 100, 10**9))
        await eventually(lambda: connection.flying >= give.MOST_FLYING - MIB)
        await anyio.wait_all_tasks_blocked()
        connection.answer.set()
        await eventually(lambda: not held.settle("out", []).waiting)
        group.cancel_scope.cancel()
    assert connection.most <= give.MOST_FLYING + MIB
    held.close()


async def test_a_full_disk_does_not_keep_a_bridge_from_being_ended(tmp_path: Path) -> None:
    held, connection, clock = queue(tmp_path), Silent(), FakeClock()
    held.put("out", [Entry("t", b"1"), Entry("t", b"2")])
    full = TransientError("full", reason="DiskFull", after=5)
    settle = held.settle

    def refuse(*_: Any) -> Any:
        raise full

    held.settle = refuse  # type: ignore[method-assign]
    mine, ended = giver(held, clock), anyio.Event()

    async def run() -> None:
        with contextlib.suppress(LinkLost):
            await mine.run(connection, Connected(False, 100, 10**9))  # type: ignore[arg-type]
        ended.set()

    async with Running(run):
        await eventually(lambda: connection.flying == 2)
        mine._done.append(1)
        connection.lost = True
        connection.answer.set()
        with anyio.move_on_after(HANGS_S):
            await ended.wait()
        is_over = ended.is_set()
        held.settle = settle  # type: ignore[method-assign]
        clock.advance(1000)
    assert is_over
    held.close()


class Full(Sink):
    """An outbox that has no room twice."""

    def __init__(self) -> None:
        self.refusals = 2
        self.held: list[Reading] = []

    async def append_readings(self, readings: Any, **_: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TransientError("full", reason="DiskFull")
        self.held += readings


async def test_readings_that_the_outbox_takes_at_its_third_try_are_said_once_by_a_bridge(tmp_path: Path) -> None:
    held, stands = queue(tmp_path), list[int]()
    want = bridge.wanted({"remote": {"host": "x"}, "out": [{"source": "readings", "topic": "a/{metric#}"}]}, "cloud")
    outbox = Full()
    tee = Tee(outbox)
    tee.open(KEY, Feed(want.out, held, lambda _, stand: stands.append(stand.received)))
    readings = [Reading("a", "m", 1, 1)]
    for _ in range(2):
        with pytest.raises(TransientError):
            await tee.append_readings(readings)
    await tee.append_readings(readings)
    await tee.append_readings(readings)
    assert (len(outbox.held), stands[-1]) == (2, 2)
    held.close()


async def test_trouble_of_the_queue_is_over_when_it_is_written_again(tmp_path: Path) -> None:
    held, state = queue(tmp_path), BridgeState("cloud")
    want = bridge.wanted({"remote": {"host": "x"}, "out": [{"source": "readings", "topic": "a/{metric#}"}]}, "cloud")
    relay = Relay(plan_of(want, "cloud", Place("s", "n"), {}), held, state, Hasty())
    tidy = held.tidy

    def refuse() -> Any:
        raise TransientError("full", reason="DiskFull")

    held.tidy = refuse  # type: ignore[method-assign]
    await relay._tidy()
    assert state.trouble()[0] == "Queue"
    held.tidy = tidy  # type: ignore[method-assign]
    await relay._tidy()
    assert state.trouble() == ("", "")
    held.close()


@pytest.mark.invariant("outbox-never-blocks-reconcile")
async def test_a_folder_that_cannot_be_made_is_trouble_of_a_bridge_and_of_nobody_else(tmp_path: Path) -> None:
    bridges = Bridges(tmp_path / "bridges")
    bridges.files.put(kept("one"))
    (tmp_path / "in the way").write_text("")
    bridges.queue_path = lambda name: tmp_path / "in the way" / f"{name}.db"  # type: ignore[method-assign]
    place = Place("s", "n", "127.0.0.1", 1)
    async with Running(lambda: run_bridges(bridges, FakeBroker().dial, Tee(Sink()), Hasty(), place)):
        await eventually(lambda: any("DiskFull" in each.problem for each in bridges.states.values()))


async def test_a_queue_that_stays_behind_on_a_disk_that_is_read_only_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridges = Bridges(tmp_path)
    bridges.files.put(kept("one"))
    (tmp_path / "gone.db").write_text("")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    place = Place("s", "n", "127.0.0.1", 1)
    async with Running(lambda: run_bridges(bridges, FakeBroker().dial, Tee(Sink()), Hasty(), place)):
        await eventually(lambda: bool(bridges.states))


async def test_a_bridge_that_ran_for_long_is_begun_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, waits, runs = FakeClock(), list[float](), 0

    class Hurried(Hasty):
        def boottime(self) -> float:
            return clock.boottime()

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            await anyio.lowlevel.checkpoint()

    def run_for_a_day(*_: Any, **__: Any) -> Any:
        nonlocal runs
        runs += 1
        clock.advance(24 * 3600)
        raise TransientError("it ended", reason="Renewed")

    monkeypatch.setattr(bridges_loop, "plan_of", run_for_a_day)
    bridges = Bridges(tmp_path)
    bridges.files.put(kept("one"))
    place = Place("s", "n", "127.0.0.1", 1)
    async with Running(lambda: run_bridges(bridges, FakeBroker().dial, Tee(Sink()), Hurried(), place)):
        await eventually(lambda: runs > 3)
    assert max(waits) <= 1.0


def kept(name: str) -> Kept:
    return Kept(ResourceKey(f"Bridge/{name}"), name, {"remote": {"host": "x"}, "out": [{"topic": "a/#"}]}, {}, name)


@pytest.mark.invariant("every-loss-is-counted")
async def test_the_queue_of_a_bridge_whose_file_cannot_be_read_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    bridges = Bridges(tmp_path)
    for name in ("one", "two"):
        bridges.files.put(kept(name))
        open_queue(bridges.queue_path(name), Bounds(MIB, 10), FakeClock()).close()
    (damaged,) = [each for each in (tmp_path / "wanted").iterdir() if b'"name":"one"' in each.read_bytes()]
    damaged.write_bytes(b"{")
    again = Bridges(tmp_path)
    place = Place("s", "n", "127.0.0.1", 1)
    async with Running(lambda: run_bridges(again, FakeBroker().dial, Tee(Sink()), Hasty(), place)):
        await eventually(lambda: ResourceKey("Bridge/two") in again.states)
        assert again.queue_path("one").exists()
        await anyio.to_thread.run_sync(again.files.forget, ResourceKey("Bridge/one"))
        again.files.tell()
        await eventually(lambda: not again.queue_path("one").exists())
    assert again.queue_path("two").exists()


@pytest.mark.parametrize("killed", [False, True])
async def test_a_bridge_that_is_deleted_and_made_anew_at_once_begins_with_an_empty_queue(
    tmp_path: Path, killed: bool
) -> None:
    bridges, place = Bridges(tmp_path), Place("s", "n", "127.0.0.1", 1)
    spec = resource("one", remote={"host": "x"}, out=[{"topic": "a/#"}])
    provider = BridgeProvider(bridges, place)
    await provider.apply(spec, scope(spec))
    before = open_queue(bridges.queue_path("one"), Bounds(MIB, 10), FakeClock())
    before.put("out", [Entry("t", b"old")])
    before.close()

    if killed:  # before anybody looked
        await provider.remove(spec.key, {})
        await provider.apply(spec, scope(spec))
        bridges = Bridges(tmp_path)
    async with Running(lambda: run_bridges(bridges, FakeBroker().dial, Tee(Sink()), Hasty(), place)):
        if not killed:
            await eventually(lambda: received(bridges) == 1)
            again = bridges.files.kept[spec.key]
            bridges.forget(spec.key)
            bridges.files.put(again)
            bridges.files.tell()
        await eventually(lambda: received(bridges) == 0)
    after = open_queue(bridges.queue_path("one"), Bounds(MIB, 10), FakeClock())
    assert (after.page("out", 0, 10), after.settle("out", []).received) == ([], 0)
    after.close()


async def test_a_bridge_that_was_an_edge_node_says_what_waits_by_its_rules(tmp_path: Path) -> None:
    bridges, place, broker = Bridges(tmp_path), Place("s", "n"), FakeBroker(drop=0)
    before = open_queue(bridges.queue_path("one"), Bounds(MIB, 10), FakeClock())
    feed = Feed(
        bridge.wanted({"remote": {"host": "x"}, "preset": "sparkplug"}, "one", place).out,
        before,
        lambda *_: None,
        packed=True,
    )
    feed.adopt()
    await feed.put([Reading("press", "m", 1, 5)])
    before.close()
    spec = resource(
        "one", remote={"host": "x"}, out=[{"source": "readings", "to": "a/{device}/{metric}", "form": "value"}]
    )
    await BridgeProvider(bridges, place).apply(spec, scope(spec))
    async with Running(lambda: run_bridges(bridges, broker.dial, Tee(Sink()), Hasty(), place)):
        await eventually(lambda: [(each.topic, each.payload) for each in broker.published] == [("a/press/m", b"5")])


def received(bridges: Bridges) -> int:
    """Return what the queue of a bridge at work has ever taken, -1 before that is known."""
    state = bridges.states.get(ResourceKey("Bridge/one"))
    return state.stands["out"].received if state is not None and state.ran > 0 else -1


def test_what_a_cut_left_of_a_file_goes_with_the_resource_it_was_for(tmp_path: Path) -> None:
    files = Sources(tmp_path)
    files.put(kept("one"))
    (path,) = tmp_path.iterdir()
    path.rename(path.with_suffix(".new"))
    Sources(tmp_path).forget(ResourceKey("Bridge/one"))
    assert not list(tmp_path.iterdir())


def test_who_looks_at_what_is_kept_is_not_disturbed_by_who_keeps_more(tmp_path: Path) -> None:
    files = Sources(tmp_path)
    files.put(kept("one"))
    for _ in files.kept.items():
        files.put(kept("two"))
    for _ in files.kept.items():
        files.forget(ResourceKey("Bridge/one"))
    assert set(files.kept) == {"Bridge/two"}


def test_two_nodes_of_a_site_do_not_throw_each_other_out() -> None:
    spec = {"remote": {"host": "far"}, "out": [{"topic": "devices/#"}]}

    def ids(node: str) -> Sequence[str]:
        place = Place("site-1", node, "near", 1883)
        plan = plan_of(bridge.wanted(spec, "cloud", place), "cloud", place, {})
        return plan.local.client_id, plan.remote.client_id

    assert not {*ids("node-1")} & {*ids("node-2")}
