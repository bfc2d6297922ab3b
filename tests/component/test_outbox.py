"""The outbox: groups, cursors, quotas and what is dropped, told by tombstones."""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from holdfast_edge.store import outbox_writer
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.outbox_writer import Append
from holdfast_protocol.errors import MisuseError, TransientError
from holdfast_protocol.wire.batch import Group, Tombstone
from holdfast_protocol.wire.messages import StreamAck
from holdfast_protocol.wire.readings import Reading
from support.outboxes import segments, values
from support.streams import STAMP, open_outbox, readings, record

pytestmark = pytest.mark.anyio


async def test_what_was_appended_is_there_after_a_restart_with_the_producer_s_cursor(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings(readings(0, 5), cursors={"devices": b"five"})
    before = outbox.states()
    outbox.close()
    outbox = open_outbox(tmp_path)
    assert await values(outbox) == [0, 1, 2, 3, 4]
    assert (outbox.cursor("devices"), outbox.cursor("other")) == (b"five", b"")
    assert outbox.states() == before
    outbox.close()


async def test_a_refused_append_leaves_neither_rows_nor_cursor(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with pytest.raises(MisuseError, match="value"):
        await outbox.append_readings([*readings(0, 3), Reading("d", "m", 0, 2**63)], cursors={"devices": b"x"})
    assert (await values(outbox), outbox.cursor("devices")) == ([], b"")
    outbox.close()


async def test_concurrent_producers_share_a_commit_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    refused = []

    async def produce(number: int) -> None:
        try:
            await outbox.append_readings([Reading("d", "m", number, number if number != 7 else 2**63)])
        except MisuseError:
            refused.append(number)

    hold = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(outbox._database.call, hold.wait)  # the commit before this one takes its time
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            group.start_soon(produce, number)
        await anyio.wait_all_tasks_blocked()
        hold.set()
    assert refused == [7]
    assert sorted(map(int, map(str, await values(outbox)))) == [n for n in range(50) if n != 7]
    outbox.close()


async def test_producers_who_wait_together_make_one_group(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    hold = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(outbox._database.call, hold.wait)
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            group.start_soon(outbox.append_readings, readings(number, 1))
        await anyio.wait_all_tasks_blocked()
        hold.set()
    assert [each.count for each in await segments(outbox)] == [50]
    outbox.close()


async def test_a_cancelled_producer_takes_nobody_with_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    hold = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(outbox._database.call, hold.wait)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as doomed:
            doomed.start_soon(outbox.append_readings, readings(0, 1))
            await anyio.wait_all_tasks_blocked()
            group.start_soon(outbox.append_readings, readings(1, 1))
            await anyio.wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
            hold.set()
    assert await values(outbox) == [0, 1]
    outbox.close()


@pytest.mark.invariant("outbox-never-blocks-reconcile")
async def test_a_full_p3_and_a_full_p1_hold_up_no_report(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(p1=2_000, p3=3_000, ballast=0))
    await outbox.append_readings(readings(0, 5_000, text=20))
    with pytest.raises(TransientError, match="p1 is full"):
        await outbox.append_records("p1", [record(n, 900) for n in range(9)], keys=[str(n) for n in range(9)])
    await outbox.append_records("p0", [record(1)])
    depth = outbox.depth()
    assert (depth["p0"].rows, depth["p1"].rows) == (1, 0)
    assert depth["p3"].bytes <= 3_000
    assert depth["p3"].lost == 5_000 - depth["p3"].rows
    outbox.close()


async def test_a_report_waits_for_one_transaction_of_telemetry_not_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_writer, "AT_ONCE", 100)
    outbox = open_outbox(tmp_path)
    hold = threading.Event()
    order: list[str] = []
    write = outbox._writer._write

    def noted(name: str, appends: Sequence[Append]) -> None:
        order.append(name)
        write(name, appends)

    monkeypatch.setattr(outbox._writer, "_write", noted)
    async with anyio.create_task_group() as group:
        group.start_soon(outbox._database.call, hold.wait)
        await anyio.wait_all_tasks_blocked()
        for number in range(10):
            group.start_soon(outbox.append_readings, readings(number * 100, 100))
        group.start_soon(outbox.append_records, "p0", [record(1)])
        await anyio.wait_all_tasks_blocked()
        hold.set()
    assert order == ["p0", *["p3"] * 10]
    outbox.close()


async def test_p0_refuses_what_does_not_fit_and_drops_nothing(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(p0=3_000, ballast=0))
    await outbox.append_records("p0", [record(1, 1_000)])
    with pytest.raises(TransientError) as error:
        await outbox.append_records("p0", [record(2, 9_000)])
    assert error.value.reason == "QuotaExceeded"
    assert [type(each) for each in await segments(outbox, "p0")] == [Group]
    outbox.close()


async def test_p1_keeps_the_newest_of_each_key_and_counts_the_others(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for number in range(6):
        await outbox.append_records("p1", [record(number)], keys=["ab"[number % 2]])
    found = await segments(outbox, "p1")
    assert [(type(each), each.count) for each in found] == [(Tombstone, 4), (Group, 1), (Group, 1)]
    assert isinstance(found[0], Tombstone)
    assert found[0].reason == "Compacted"
    assert outbox.depth()["p1"].lost == 0  # replaced is not lost
    with pytest.raises(MisuseError):
        await outbox.append_records("p1", [record(9)])
    outbox.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_a_quota_drops_is_the_oldest_and_is_tombstoned_with_its_size(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(p3=4_000, ballast=0))
    for number in range(0, 60, 2):
        await outbox.append_readings(readings(number, 2, text=100))
    tombstone, *groups = await segments(outbox)
    assert isinstance(tombstone, Tombstone)
    assert (tombstone.reason, tombstone.count) == ("QuotaExceeded", 60 - sum(each.count for each in groups))
    assert tombstone.size > 200 * tombstone.count
    assert [str(value).split()[0] for value in await values(outbox)] == [str(n) for n in range(tombstone.count, 60)]
    outbox.close()


async def test_waiting_for_a_change_ends_with_an_append_and_with_an_acknowledgement(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    changes: list[int] = []

    async def watch() -> None:
        revision = outbox.revision
        while len(changes) < 2:
            await outbox.changed(revision)
            revision = outbox.revision
            changes.append(revision)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        await outbox.append_readings(readings(0, 1))
        await anyio.wait_all_tasks_blocked()
        state = outbox.states()["p3"]
        await outbox.acknowledge(StreamAck("p3", state.incarnation, 0))
    assert len(changes) == 2
    outbox.close()


def test_a_folder_copied_while_it_is_used_is_a_whole_outbox(tmp_path: Path) -> None:
    async def run() -> None:
        outbox = open_outbox(tmp_path / "a")
        await outbox.append_readings(readings(0, 100))
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        outbox.close()
        copy = open_outbox(tmp_path / "b")
        assert await values(copy) == list(range(100))
        copy.close()

    anyio.run(run)


async def test_depth_says_how_old_the_oldest_row_is(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert outbox.depth()["p3"].oldest == 0
    await outbox.append_readings(readings(0, 1))
    assert outbox.depth()["p3"].oldest == STAMP.wall
    outbox.close()
