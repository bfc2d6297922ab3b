"""From the outbox to the hub's store over a wire that loses, repeats and is cut: fresh first, everything once."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from holdfast_edge.link.sender import run_sender
from holdfast_edge.store import outbox_pages, outbox_tiers
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.wire.batch import Tombstone
from support.clock import Running, eventually, never
from support.streams import IDENTITY, Hub, Wire, open_outbox, readings, record
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_pages, "PAGE_BYTES", 1)  # a batch is one group
    monkeypatch.setattr(outbox_tiers, "FANOUT", 1 << 30)  # as it was appended


async def send(wire: Wire, outbox: Outbox, until: Callable[[], bool], *, probe_after: float = 0.05) -> None:
    """Run a sender until something is true or the link is lost."""
    with anyio.fail_after(HANGS_S):
        async with anyio.create_task_group() as group:

            async def sender() -> None:
                try:
                    await run_sender(wire, outbox, IDENTITY, probe_after=probe_after, probe_at_most=4 * probe_after)  # type: ignore[arg-type]
                except LinkLost:
                    group.cancel_scope.cancel()

            group.start_soon(sender)
            while not until():
                await anyio.sleep(0.002)
            group.cancel_scope.cancel()


def empty(outbox: Outbox) -> Callable[[], bool]:
    return lambda: all(state.acked == state.high for state in outbox.states().values())


async def append(outbox: Outbox, first: int, groups: int, size: int = 5) -> None:
    for number in range(groups):
        await outbox.append_readings(readings(first + size * number, size))


@pytest.mark.parametrize("seed", range(6))
async def test_a_wire_that_loses_and_repeats_and_is_cut_delivers_everything_once(tmp_path: Path, seed: int) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    appended = 0
    for cut in range(6):
        await append(outbox, appended, 8)
        await outbox.append_records("p0", [record(cut)])
        await outbox.append_records("p1", [record(cut)], keys=["k"])
        appended += 40
        wire = Wire(hub, outbox, seed=100 * seed + cut, chance=0.3, budget=8)
        await send(wire, outbox, empty(outbox), probe_after=0.01)
        assert all(len(each.segments) == 1 for each in wire.batches)
        if cut == 3:
            hub.restart()
            outbox.close()
            outbox = open_outbox(tmp_path / "edge")
    await send(Wire(hub, outbox, seed=seed, chance=0.3), outbox, empty(outbox), probe_after=0.01)
    assert await hub.values() == list(range(appended))
    await hub.balance()
    ledger = {each.stream: each for each in await hub.store.ledger("site-1")}
    assert [(ledger[name].sent, ledger[name].pending) for name in ("p0", "p1", "p3")] == [(6, 0), (6, 0), (240, 0)]
    assert [each.record.body["n"] for each in await hub.store.records("site-1", "p0")] == [5, 4, 3, 2, 1, 0]
    outbox.close()
    hub.database.close()


async def test_fresh_readings_overtake_history_and_history_goes_on_beside_them(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 40)
    wire = Wire(hub, outbox)
    gate = anyio.Event()
    take = hub.ingest.take

    async def slow(deliveries: object) -> object:
        await gate.wait()
        return await take(deliveries)  # type: ignore[arg-type]

    hub.ingest.take = slow  # type: ignore[method-assign,assignment]

    async def add() -> None:
        while len(wire.batches) < 7:  # history fills the window, but for the place kept free
            await anyio.sleep(0.002)
        await append(outbox, 200, 1)
        while len(wire.batches) < 8:
            await anyio.sleep(0.002)
        await append(outbox, 205, 9)
        gate.set()

    async with anyio.create_task_group() as group:
        group.start_soon(add)
        await send(wire, outbox, lambda: gate.is_set() and empty(outbox)(), probe_after=60)
    historical = [each.historical for each in wire.batches]
    assert historical[:8] == [True] * 7 + [False]
    assert [each.first for each in wire.batches if each.historical] == list(range(1, 201, 5))  # oldest first
    last_fresh = max(place for place, each in enumerate(wire.batches) if not each.historical)
    assert last_fresh < 30  # not at the end
    assert sum(historical[8:last_fresh]) >= 2  # and history not at a standstill
    assert await hub.values() == list(range(250))
    outbox.close()
    hub.database.close()


async def test_reports_go_before_telemetry_and_in_order(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 5)
    for number in range(5):
        await outbox.append_records("p0", [record(number)])
    wire = Wire(hub, outbox)
    await send(wire, outbox, empty(outbox))
    assert [(each.stream, each.first) for each in wire.batches[:5]] == [("p0", n) for n in range(1, 6)]
    outbox.close()
    hub.database.close()


async def test_no_more_batches_are_under_way_than_the_hub_grants(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 30)
    wire = Wire(hub, outbox)
    wire.hub.ingest.take = lambda deliveries: anyio.sleep_forever()  # type: ignore[method-assign,assignment,return-value]
    async with Running(lambda: run_sender(wire, outbox, IDENTITY, probe_after=60)):  # type: ignore[arg-type]
        await eventually(lambda: len(wire.batches) >= 7)
        await never(lambda: len(wire.batches) > 7)  # of eight one is kept free for what is fresh
    outbox.close()
    hub.database.close()


async def test_what_nobody_listened_to_is_sent_again_when_the_hub_is_heard(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 3)
    wire = Wire(hub, outbox)
    wire.listening = False

    async def come_back() -> None:
        while not wire.batches:
            await anyio.sleep(0.002)
        assert len(wire.batches) < 8
        wire.listening = True
        (state,) = [state for name, state in outbox.states().items() if name == "p3"]
        await hub.ingest.greet(IDENTITY.site, IDENTITY.node, {"p3": state})
        await outbox.append_records("p0", [record(1)])  # the answer to this is the hub's first word

    async with anyio.create_task_group() as group:
        group.start_soon(come_back)
        await send(wire, outbox, lambda: wire.listening and empty(outbox)(), probe_after=60)
    assert await hub.values() == list(range(15))
    outbox.close()
    hub.database.close()


async def test_a_disk_rolled_back_goes_on_under_a_new_incarnation_and_nothing_is_twice(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 4)
    await send(Wire(hub, outbox), outbox, empty(outbox))
    held = {path.name: path.read_bytes() for path in (tmp_path / "edge").iterdir()}
    await append(outbox, 20, 4)
    await send(Wire(hub, outbox), outbox, empty(outbox))
    outbox.close()
    for path in (tmp_path / "edge").iterdir():
        path.unlink()
    for name, content in held.items():
        (tmp_path / "edge" / name).write_bytes(content)
    outbox = open_outbox(tmp_path / "edge")  # as the disk was: nothing here can tell
    before = outbox.states()["p3"].incarnation
    await append(outbox, 1000, 6)
    await send(Wire(hub, outbox), outbox, empty(outbox))
    assert outbox.states()["p3"].incarnation != before
    assert await hub.values() == [*range(40), *range(1000, 1030)]
    ledger = [(each.state, each.sent, each.stored, each.pending) for each in await hub.store.ledger("site-1")]
    assert (ledger[0][0], ledger[0][2]) == ("forked", 40)
    assert ledger[1] == ("open", 30, 30, 0)
    outbox.close()
    hub.database.close()


async def test_a_hub_put_back_to_an_older_copy_is_told_what_is_gone(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await append(outbox, 0, 4)
    await send(Wire(hub, outbox), outbox, empty(outbox))
    hub.database.close()
    copy = hub.path.read_bytes()
    hub.restart()
    await append(outbox, 20, 4)
    await send(Wire(hub, outbox), outbox, empty(outbox))
    hub.database.close()
    hub.path.write_bytes(copy)
    hub.restart()
    await append(outbox, 40, 4)
    wire = Wire(hub, outbox)
    await send(wire, outbox, lambda: any(isinstance(each.segments[0], Tombstone) for each in wire.batches))
    await send(wire, outbox, empty(outbox))
    assert await hub.values() == [*range(20), *range(40, 60)]
    assert [(gap.first, gap.last, gap.reason) for gap in await hub.store.gaps("site-1")] == [(21, 40, "Released")]
    assert await hub.balance() == [(60, 40, 20, 0)]
    outbox.close()
    hub.database.close()
