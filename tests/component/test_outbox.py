"""The outbox on real SQLite: damage, copies put back, full disks, kills, and producers who must not wait for each other."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from holdfast_edge.store import outbox_files, outbox_writer
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.outbox_writer import Append
from holdfast_protocol.errors import MisuseError, PermanentError, TransientError
from holdfast_protocol.wire.batch import Group, Tombstone
from holdfast_protocol.wire.contents import Readings, Records, contents
from holdfast_protocol.wire.messages import StreamAck
from holdfast_protocol.wire.readings import Reading
from support.streams import STAMP, open_outbox, readings, record

pytestmark = pytest.mark.anyio


async def segments(outbox: Outbox, stream: str = "p3") -> list[Group | Tombstone]:
    found: list[Group | Tombstone] = []
    state = outbox.states()[stream]
    at = state.acked + 1
    while page := await outbox.read(stream, at, state.high):
        found += page.segments
        at = page.last + 1
    return found


async def values(outbox: Outbox) -> list[object]:
    found: list[object] = []
    for content in contents(each for each in await segments(outbox) if isinstance(each, Group)):
        assert isinstance(content, Readings)
        found += [value for series in content.series for value in series.values]
    return found


async def alarms(outbox: Outbox) -> list[str]:
    found = []
    for content in contents(each for each in await segments(outbox, "p0") if isinstance(each, Group)):
        assert isinstance(content, Records)
        found += [each.body["reason"] for each in content.records if each.kind == "Alarm"]
    return found


async def test_what_was_appended_is_there_after_a_restart_with_the_producer_s_cursor(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings(readings(0, 5), cursor=("devices", b"five"))
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
        await outbox.append_readings([*readings(0, 3), Reading("d", "m", 0, 2**63)], cursor=("devices", b"x"))
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


async def test_a_damaged_database_is_put_aside_and_a_new_history_begins(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings(readings(0, 500, text=100))
    before = outbox.states()
    outbox.close()
    database = tmp_path / "outbox.db"
    content = bytearray(database.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    database.write_bytes(content)
    outbox = open_outbox(tmp_path)
    assert all(outbox.states()[name].incarnation != before[name].incarnation for name in before)
    assert await values(outbox) == []
    assert await alarms(outbox) == ["OutboxDamaged"]
    assert (tmp_path / "outbox.db.aside-1").read_bytes() == bytes(content)
    outbox.close()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at as one" * 100])
async def test_a_database_that_is_none_is_noticed(tmp_path: Path, content: bytes) -> None:
    outbox = open_outbox(tmp_path)
    before = outbox.states()
    outbox.close()
    (tmp_path / "outbox.db").write_bytes(content)
    outbox = open_outbox(tmp_path)
    assert outbox.states()["p3"].incarnation != before["p3"].incarnation
    assert await alarms(outbox) == ["OutboxDamaged" if content else "OutboxLost"]
    outbox.close()


async def test_an_older_copy_put_back_is_noticed(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings(readings(0, 5))
    before = outbox.states()
    outbox.close()
    copy = (tmp_path / "outbox.db").read_bytes()
    for _ in range(2):
        open_outbox(tmp_path).close()
    (tmp_path / "outbox.db").write_bytes(copy)
    outbox = open_outbox(tmp_path)
    assert outbox.states()["p3"].incarnation != before["p3"].incarnation
    assert await alarms(outbox) == ["OutboxRestored"]
    outbox.close()


async def test_a_start_cut_short_between_database_and_side_file_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings(readings(0, 5))
    outbox.close()
    with monkeypatch.context() as patch:
        patch.setattr(outbox_files, "write_opening", lambda folder, opening: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            open_outbox(tmp_path)
    outbox = open_outbox(tmp_path)
    assert await values(outbox) == [0, 1, 2, 3, 4]
    assert await alarms(outbox) == []
    outbox.close()


async def test_no_more_than_three_databases_are_kept_aside(tmp_path: Path) -> None:
    for _ in range(6):
        open_outbox(tmp_path).close()
        (tmp_path / "outbox.db").write_bytes(b"x" * 5000)
    open_outbox(tmp_path).close()
    assert sorted(path.name for path in tmp_path.glob("*aside*")) == [f"outbox.db.aside-{n}" for n in (4, 5, 6)]


async def test_the_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with outbox._database.transaction() as connection:
        connection.execute("PRAGMA user_version=99")
    outbox.close()
    with pytest.raises(PermanentError, match="schema 99"):
        open_outbox(tmp_path)
    assert not list(tmp_path.glob("*aside*"))


async def test_a_group_damaged_on_the_disk_becomes_a_tombstone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for number in range(3):
        await outbox.append_readings(readings(number, 1))
    with outbox._database.transaction() as connection:
        connection.execute("UPDATE groups SET blob = x'00' WHERE stream = 'p3' AND first = 2")
    found = await segments(outbox)
    assert [type(each) for each in found] == [Group, Tombstone, Group]
    assert isinstance(found[1], Tombstone)
    assert (found[1].reason, outbox.depth()["p3"].lost) == ("Damaged", 1)
    outbox.close()


async def fill(outbox: Outbox) -> None:
    """Append telemetry until the disk is full."""
    for number in range(0, 1_000_000, 100):
        try:
            await outbox.append_readings(readings(number, 100, text=100))
        except TransientError as error:
            reason = error.reason
            break
    assert reason == "DiskFull"


async def test_telemetry_leaves_the_last_of_a_disk_to_reports(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(ballast=1 << 60))  # more than any disk has, so there is no ballast
    with pytest.raises(TransientError) as refused:
        await outbox.append_readings(readings(0, 10))
    assert refused.value.reason == "DiskFull"
    await outbox.append_records("p0", [record(1)])
    assert outbox.depth()["p0"].rows == 1
    outbox.close()


async def test_on_a_full_disk_telemetry_waits_and_reports_go_on(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(ballast=1 << 20, file=1 << 20))
    ballast = tmp_path / "outbox.ballast"
    assert ballast.stat().st_size == 1 << 20
    await fill(outbox)
    held = await values(outbox)
    for number in range(30):
        await outbox.append_records("p0", [record(number, 3_000)])
    assert not ballast.exists()  # given to the disk, which was not enough here: telemetry went next
    depth = outbox.depth()
    assert (depth["p0"].rows, depth["p3"].lost) == (30, len(held) - depth["p3"].rows)
    assert (await values(outbox)) == held[depth["p3"].lost :]
    page = await outbox.read("p3", 1, outbox.states()["p3"].high)
    assert page is not None
    assert isinstance(page.segments[0], Tombstone)
    assert page.segments[0].reason == "DiskFull"
    await outbox.acknowledge(StreamAck("p3", page.incarnation, page.last, chain=page.after.hex()))
    assert ballast.exists()  # there is room again
    await outbox.append_readings(readings(0, 10))
    outbox.close()


async def test_after_a_full_disk_everything_told_to_be_durable_is_there(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(ballast=0, file=1 << 20))
    await fill(outbox)
    before = outbox.states()
    held = await values(outbox)
    outbox.close()
    outbox = open_outbox(tmp_path, Quotas(ballast=0, file=2 << 20))
    assert (outbox.states(), await values(outbox)) == (before, held)
    await outbox.append_readings(readings(0, 10))
    outbox.close()


KILLED = """
import sys, anyio
from pathlib import Path
from support.streams import open_outbox, readings
async def main():
    outbox = open_outbox(Path(sys.argv[1]))
    number = int(outbox.cursor("n") or b"0")
    while True:
        await outbox.append_readings(readings(number, 7), cursor=("n", b"%d" % (number + 7)))
        number += 7
        print(number, flush=True)
anyio.run(main)
"""


@pytest.mark.invariant("commit-before-ack")
async def test_a_kill_loses_nothing_that_was_said_to_be_committed(tmp_path: Path) -> None:
    told = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert child.stdout is not None
        for _ in range(20):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        told = max([told, *map(int, child.stdout.read().split("\n")[:-1])])
        child.wait()
        child.stdout.close()
    outbox = open_outbox(tmp_path)
    found = await values(outbox)
    assert found == list(range(len(found)))
    assert outbox.cursor("n") == b"%d" % len(found)
    assert len(found) - told in (0, 7)  # one may be committed and not yet told
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


async def test_a_disk_that_refuses_at_the_start_is_said_and_the_ballast_given_back(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(ballast=1 << 20))
    outbox.close()
    (tmp_path / "outbox.opening.new").mkdir()
    with pytest.raises(TransientError) as caught:
        open_outbox(tmp_path, Quotas(ballast=1 << 20))
    assert caught.value.reason == "DiskFull"
    assert not (tmp_path / "outbox.ballast").exists()
