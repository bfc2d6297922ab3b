"""The outbox and what disks do: damage, old copies, kills, no room."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast_edge.store import outbox_files
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire.batch import Group, Tombstone
from holdfast_protocol.wire.contents import Records, contents
from holdfast_protocol.wire.messages import StreamAck
from support.outboxes import segments, values
from support.streams import open_outbox, readings, record

pytestmark = pytest.mark.anyio


async def alarms(outbox: Outbox) -> list[str]:
    found = []
    for content in contents(each for each in await segments(outbox, "p0") if isinstance(each, Group)):
        assert isinstance(content, Records)
        found += [each.body["reason"] for each in content.records if each.kind == "Alarm"]
    return found


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


@pytest.mark.invariant("every-loss-is-counted")
@pytest.mark.parametrize(
    ("gone", "kinds"),
    [
        ("first = 2", [Group, Tombstone, Group, Group]),
        ("first IN (2, 3)", [Group, Tombstone, Group]),
        ("first = 1", [Tombstone, Group, Group, Group]),
        ("first = 4", [Group, Group, Group, Tombstone]),
        ("first > 0", [Tombstone]),
    ],
)
async def test_groups_the_disk_has_lost_become_a_tombstone(tmp_path: Path, gone: str, kinds: list[type]) -> None:
    outbox = open_outbox(tmp_path)
    for number in range(4):
        await outbox.append_readings(readings(number, 1))
    with outbox._database.transaction() as connection:
        connection.execute(f"DELETE FROM groups WHERE stream = 'p3' AND {gone}")
    found = await segments(outbox)
    assert [type(each) for each in found] == kinds
    lost = 4 - kinds.count(Group)
    assert [(each.count, each.reason) for each in found if isinstance(each, Tombstone)] == [(lost, "Damaged")]
    assert outbox.depth()["p3"].lost == lost
    assert await segments(outbox) == found
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
        await outbox.append_readings(readings(number, 7), cursors={"n": b"%d" % (number + 7)})
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


async def test_a_disk_that_refuses_at_the_start_is_said_and_the_ballast_given_back(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, Quotas(ballast=1 << 20))
    outbox.close()
    (tmp_path / "outbox.opening.new").mkdir()
    with pytest.raises(TransientError) as caught:
        open_outbox(tmp_path, Quotas(ballast=1 << 20))
    assert caught.value.reason == "DiskFull"
    assert not (tmp_path / "outbox.ballast").exists()
