"""What the outbox does with its room: larger groups, fewer rows, expiry, budgets; and an outage of three days and a half."""

import random
import sqlite3
from contextlib import closing
from datetime import UTC
from pathlib import Path

import anyio
import pytest

from holdfast_edge.core.metering import Metered
from holdfast_edge.link.meter import Meter
from holdfast_edge.link.sender import run_sender
from holdfast_edge.link.upkeep import Standing, Upkeep
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_look import look
from holdfast_edge.store.outbox_state import DAY_MS, Quotas
from holdfast_edge.store.outbox_writer import Append
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire.batch import Group, Stamp, Tombstone
from holdfast_protocol.wire.readings import Reading
from support.clock import FakeClock, Running, eventually
from support.streams import IDENTITY, SMALL, Hub, Wire, open_outbox, readings, record, sealed_page
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


class Node:
    """An outbox whose clocks are ours."""

    def __init__(self, folder: Path, quotas: Quotas = SMALL) -> None:
        self.folder, self.quotas = folder, quotas
        self.boot, self.boottime, self.wall = "boot-1", 0, 1_700_000_000_000
        self.outbox = self._open()

    def _open(self) -> Outbox:
        return Outbox.open(self.folder, quotas=self.quotas, stamp=lambda: Stamp(self.boot, self.boottime, self.wall))

    def passes(self, milliseconds: int) -> None:
        self.boottime += milliseconds
        self.wall += milliseconds

    def reboots(self) -> None:
        self.outbox.close()
        self.boot, self.boottime = f"{self.boot}'", 0
        self.outbox = self._open()


def noise(first: int) -> list[Reading]:
    """Return 500 readings of a sensor that is mostly noise."""
    chance = random.Random(first)
    return [Reading("d", "m", n, round(chance.gauss(0, 1), 3)) for n in range(first, first + 500)]


async def drained(hub: Hub, outbox: Outbox, stream: str = "p3") -> list[Group | Tombstone]:
    """Send all of a stream without losses and return its segments."""
    found: list[Group | Tombstone] = []
    while (state := outbox.states()[stream]).acked < state.high:
        page = await outbox.read(stream, state.acked + 1, state.high)
        assert page is not None
        found += page.segments
        await outbox.acknowledge(await hub.ack(sealed_page(page, stream), stream))
    return found


async def test_small_groups_become_large_ones_and_every_reading_arrives(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    for n in range(300):
        await outbox.append_readings(readings(n, 1))
        await outbox.append_records("p2", [record(n)])
    events = await drained(hub, outbox, "p2")
    assert len(await drained(hub, outbox)) < 20
    assert len(events) < 20
    assert await hub.values() == list(range(300))
    assert [each.record.body["n"] for each in await hub.store.records("site-1", limit=300)] == list(range(299, -1, -1))
    assert all(sent == stored for sent, stored, _, _ in await hub.balance())
    outbox.close()
    hub.database.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_may_have_been_sent_is_never_written_anew(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    for n in range(7):
        await outbox.append_readings(readings(n, 1))
    page = await outbox.read("p3", 1, 3)
    assert page is not None
    hub_has = sealed_page(page)
    for n in range(7, 40):
        await outbox.append_readings(readings(n, 1))
    outbox.close()  # killed: nobody settled what is under way
    outbox = open_outbox(tmp_path / "edge")
    for n in range(40, 60):
        await outbox.append_readings(readings(n, 1))
    assert not (await hub.take(hub_has))[0].rejected
    await drained(hub, outbox)
    assert [each.state for each in await hub.store.ledger("site-1")] == ["open"]
    assert await hub.values() == list(range(60))
    outbox.close()
    hub.database.close()


async def test_after_the_link_is_gone_new_groups_are_merged_again(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    await outbox.append_readings(readings(0, 1))
    async with Running(lambda: run_sender(Wire(hub, outbox), outbox, IDENTITY)):  # type: ignore[arg-type]
        await eventually(lambda: outbox.states()["p3"].acked == 1)
    for n in range(1, 65):
        await outbox.append_readings(readings(n, 1))
    assert len(await drained(hub, outbox)) <= 8
    outbox.close()
    hub.database.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_full_p3_is_downsampled_before_it_is_dropped_and_every_row_is_counted(tmp_path: Path) -> None:
    quotas = Quotas(p3=60_000, ballast=0)
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge", quotas)
    count = 0
    while "Downsampled" not in outbox.depth()["p3"].losses or count < 30_000:
        await outbox.append_readings(noise(count))
        count += 500
        depth = outbox.depth()["p3"]
        assert depth.bytes <= quotas.p3
        assert depth.rows + depth.lost == count
    assert set(depth.losses) == {"Downsampled"}  # nothing was dropped yet
    while "QuotaExceeded" not in outbox.depth()["p3"].losses:
        await outbox.append_readings(noise(count))
        count += 500
    depth = outbox.depth()["p3"]
    assert sum(loss.rows for loss in depth.losses.values()) == depth.lost
    outbox.close()
    outbox = open_outbox(tmp_path / "edge", quotas)
    assert outbox.depth()["p3"] == depth
    newest = [each for each in await drained(hub, outbox) if isinstance(each, Group)][-1]
    assert newest.count >= 500  # the newest quarter is whole
    assert await hub.balance() == [(count, depth.rows, depth.lost, 0)]
    assert {gap.reason for gap in await hub.store.gaps("site-1")} == {"Downsampled", "QuotaExceeded"}
    outbox.close()
    hub.database.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_node_that_drops_for_ever_keeps_few_tombstones(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(p3=20_000, ballast=0))
    for n in range(0, 60_000, 500):
        await outbox.append_readings(noise(n))
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        (tombstones,) = connection.execute("SELECT count(*) FROM tombstones").fetchone()
    assert tombstones < 30
    outbox.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_rows_whose_time_is_over_become_tombstones_also_over_reboots(tmp_path: Path) -> None:
    hub, node = Hub(tmp_path / "hub"), Node(tmp_path / "edge")
    await node.outbox.append_readings(readings(0, 10), ttl=3600)
    await node.outbox.append_readings(readings(10, 10))
    await node.outbox.append_records("p2", [record(1)], ttl=60)
    node.passes(1_800_000)
    await node.outbox.tidy()
    node.reboots()
    assert {name: depth.rows for name, depth in node.outbox.depth().items() if depth.rows} == {"p3": 20}
    node.wall += 10 * DAY_MS  # a wall clock that was set forward is no reason
    node.passes(1_700_000)
    await node.outbox.tidy()
    assert node.outbox.depth()["p3"].rows == 20
    node.passes(400_000)  # an hour, and a sixteenth
    await node.outbox.tidy()
    assert (node.outbox.depth()["p3"].rows, node.outbox.depth()["p3"].losses["Expired"].rows) == (10, 10)
    await drained(hub, node.outbox)
    assert await hub.values() == list(range(10, 20))
    assert await hub.balance() == [(20, 10, 10, 0)]
    node.outbox.close()
    hub.database.close()


async def test_readings_go_to_the_class_their_route_names(tmp_path: Path) -> None:
    hub, outbox = Hub(tmp_path / "hub"), open_outbox(tmp_path / "edge")
    states = [Reading("d", "mode", n, text) for n, text in enumerate(("off", "on", "off"))]
    await outbox.append_readings([*states, Reading("d", "level", 9, 1)], stream="p1")
    await outbox.append_readings(readings(100, 2), stream="p2", cursors={"devices": b"x"})
    assert {name: depth.rows for name, depth in outbox.depth().items()} == {"p0": 0, "p1": 2, "p2": 2, "p3": 0}
    assert outbox.depth()["p1"].lost == 0  # a newer value of the same series is no loss
    await drained(hub, outbox, "p1")
    await drained(hub, outbox, "p2")
    assert sorted(map(str, await hub.values())) == ["1", "100", "101", "off"]
    with pytest.raises(MisuseError):
        await outbox.append_readings(readings(0, 1), stream="p0")
    with pytest.raises(MisuseError):
        await outbox.append_records("p0", [record(1)], ttl=5)
    outbox.close()
    hub.database.close()


async def test_a_metered_link_carries_what_is_fresh_and_no_more_history_than_its_day_allows(tmp_path: Path) -> None:
    hub, node = Hub(tmp_path / "hub"), Node(tmp_path / "edge")
    outbox, clock = node.outbox, FakeClock()
    for n in range(40):
        await outbox.append_readings(readings(1000 * n, 1, text=400))
        page = await outbox.read("p3", n + 1, n + 1)  # as if sent once: groups stay as they are
        assert page is not None
    meter = Meter(Metered(bytes_per_day=9_000), outbox, clock, "boot-1", UTC)
    wire = Wire(hub, outbox)
    async with anyio.create_task_group() as group:
        group.start_soon(run_sender, wire, outbox, IDENTITY, meter)
        with anyio.fail_after(HANGS_S):
            while meter.allowance().allowed:
                await anyio.sleep(0.002)
            await outbox.append_readings(readings(90_000, 1))
            await outbox.append_records("p0", [record(1)])
            while outbox.states()["p0"].acked < 1 or not any(not each.historical for each in wire.batches):
                await anyio.sleep(0.002)
        group.cancel_scope.cancel()
    history = [each for each in wire.batches if each.historical and each.stream == "p3"]
    assert 0 < sum(each.last - each.first + 1 for each in history) < 40
    assert meter.allowance().left == 0
    assert outbox.odometer.spent >= 9_000
    node.reboots()
    assert node.outbox.odometer.spent >= 9_000  # a restart gives nothing back
    node.outbox.close()
    hub.database.close()


async def test_the_outbox_of_the_version_before_is_taken_over_as_it_is(tmp_path: Path) -> None:
    hub, edge = Hub(tmp_path / "hub"), tmp_path / "edge"
    edge.mkdir()
    old = Database(edge / "outbox.db", migrations("holdfast_edge.store", "schema_outbox")[:1])
    old.close()
    fresh = open_outbox(tmp_path / "fresh")
    for n in range(30):
        await fresh.append_readings(readings(n, 1))
    fresh.close()
    with closing(sqlite3.connect(tmp_path / "fresh" / "outbox.db")) as connection:  # what the old version had written
        connection.execute("ATTACH ? AS old", (str(edge / "outbox.db"),))
        columns = "stream, first, count, kind, key, raw, size, before, chain, boot_id, boottime, wall, quality, blob"
        connection.execute(f"INSERT INTO old.groups ({columns}) SELECT {columns} FROM groups")
        connection.execute("INSERT INTO old.streams SELECT * FROM streams")
        connection.commit()
    outbox = open_outbox(edge)
    for n in range(30, 40):
        await outbox.append_readings(readings(n, 1))
    await drained(hub, outbox)
    assert await hub.values() == list(range(40))
    outbox.close()
    hub.database.close()


async def test_a_stopped_agent_s_outbox_can_be_looked_at(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(p3=4_000, ballast=0))
    for n in range(40):
        await outbox.append_readings(readings(n, 1, text=100))
    depth = outbox.depth()["p3"]
    outbox.close()
    found = look(tmp_path)["p3"]
    assert (found["rows"], found["bytes"], found["lost"]) == (depth.rows, depth.bytes, depth.lost)
    assert depth.lost > 0
    assert {reason: each["rows"] for reason, each in found["losses"].items()} == {
        reason: loss.rows for reason, loss in depth.losses.items()
    }


async def test_standing_says_age_losses_and_how_long_the_room_lasts(tmp_path: Path) -> None:
    outbox, clock = open_outbox(tmp_path, Quotas(p3=1_000_000, ballast=0)), FakeClock()
    upkeep = Upkeep(outbox, tmp_path, clock, Meter(Metered(), outbox, clock, "boot-1", UTC))
    async with anyio.create_task_group() as group:
        group.start_soon(upkeep.run)
        for minute in range(10):
            await outbox.append_readings(readings(minute, 1))
            clock.advance(60.0)
            await eventually(lambda: clock.sleepers == 1)
        group.cancel_scope.cancel()
    found = upkeep.standing()["classes"]["p3"]
    assert isinstance(found, Standing)
    assert (found.rows, found.lost, found.quota) == (10, 0, 1_000_000)
    assert found.bytes_per_s
    assert found.full_in_s
    assert 1 < found.full_in_s / 3600 < 100
    outbox.close()


SECONDS = (3 * 24 + 16) * 3600
EVERY = 20  # seconds


@pytest.mark.invariant("every-loss-is-counted")
@pytest.mark.parametrize("quotas", [Quotas(ballast=0), Quotas(p3=120_000, ballast=0)], ids=["room", "too-little"])
async def test_an_outage_of_three_days_and_sixteen_hours_keeps_its_first_four_hours(
    tmp_path: Path, quotas: Quotas
) -> None:
    hub, node = Hub(tmp_path / "hub"), Node(tmp_path / "edge", quotas)
    start, sent, chance = node.wall, 0, random.Random(1)
    for tick in range(SECONDS // EVERY):
        values = [round(chance.gauss(20, 1), 2) for _ in range(5)]
        given = [Reading(f"press-{press}", "temperature", node.wall, value) for press, value in enumerate(values)]
        if tick % 60 == 0 or tick % 60 == 1:  # as the intake brings them: some at once, some together
            await node.outbox.append_readings(given)
        else:
            node.outbox._writer.offer("p3", Append(readings=given))
        sent += len(given)
        node.passes(1000 * EVERY)
        if tick in (4000, 9000):
            await node.outbox.append_readings(readings(0, 1))
            sent += 1
            node.reboots()  # while offline
    await node.outbox.append_readings(readings(0, 1))
    sent += 1
    assert node.outbox.depth()["p3"].rows + node.outbox.depth()["p3"].lost == sent
    await drained(hub, node.outbox)
    ((total, stored, tombstoned, pending),) = await hub.balance()
    assert (total, pending) == (sent, 0)
    early = await hub.readings.find("site-1", "press-0", since=start, until=start + 4 * 3_600_000, limit=100_000)
    if tombstoned == 0:
        assert quotas.p3 > 120_000
        assert len(early) == 4 * 3600 // EVERY
    else:  # thinned out: what is left are still readings of all four hours
        assert stored < sent
        hours = {(each.time - start) // 3_600_000 for each in early}
        assert hours == {0, 1, 2, 3}
    node.outbox.close()
    hub.database.close()
