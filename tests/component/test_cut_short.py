"""Takes that are cut short while the disk is full: what was not committed is not known when it comes again."""

from typing import Any

import anyio
import pytest

from holdfast_edge.ingest.intake import Intake, Message
from holdfast_edge.ingest.memory import CHUNK, entry_of
from holdfast_edge.ingest.noticing import Noticing
from holdfast_edge.ingest.taking import Sink, Taking
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds import device_source
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.wire.readings import MAX_TIME, Reading, encode
from support.clock import FakeClock, eventually

pytestmark = pytest.mark.anyio


class Fillable(Sink):
    """An outbox whose disk is full while `full` says so of a stream, or of a stream and a time to live."""

    def __init__(self) -> None:
        self.cursors: dict[str, bytes] = {}
        self.taken: dict[str, list[Reading]] = {"p1": [], "p3": []}
        self.full: tuple[str, ...] = ()
        self.refusals = 0

    async def append_readings(
        self, readings: Any, *, stream: str = "p3", ttl: float = 0, cursors: Any = None, **_: Any
    ) -> None:
        encode(readings)
        if {stream, f"{stream} {ttl}"} & set(self.full):
            self.refusals += 1
            raise TransientError("full", reason="DiskFull", after=5)
        self.taken[stream] += readings
        self.cursors |= cursors or {}

    async def append_records(self, stream: str, records: Any) -> None: ...
    def cursor(self, name: str) -> bytes:
        return self.cursors.get(name, b"")

    def values(self, stream: str = "p3") -> list[Any]:
        return sorted(each.value for each in self.taken[stream])


async def cut_short(intake: Intake, outbox: Fillable, messages: list[Message], *full: str) -> None:
    outbox.full = full
    async with anyio.create_task_group() as group:
        group.start_soon(intake.take, messages)
        await eventually(lambda: outbox.refusals)
        group.cancel_scope.cancel()
    outbox.full, outbox.refusals = (), 0


def said(number: int, topic: str = "devices/a/n", *, again: bool = False) -> Message:
    payload = b'{"value": %d, "time": %d}' % (number, 1_790_000_000_000 + number)
    return Message(topic, payload, 1_790_000_000_000, entry_of(number + 1, topic, payload), again)


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.parametrize("many", [1, CHUNK + 7])
async def test_messages_a_full_disk_did_not_take_are_taken_when_they_come_again(many: int) -> None:
    outbox = Fillable()
    intake = Intake("devices", plain(("devices/#",)), outbox, FakeClock())
    await intake.take([said(0)])
    sent = range(1, 1 + many)
    await cut_short(intake, outbox, [said(number) for number in sent], "p3")
    await intake.take([said(number, again=True) for number in (0, *sent)])
    assert outbox.values() == [*range(1 + many)]
    await intake.take([said(number, again=True) for number in (0, *sent)])
    assert len(outbox.values()) == 1 + many


async def test_a_class_that_was_committed_is_known_when_the_rest_of_its_message_was_not() -> None:
    rules = [
        {"match": "devices/alarm/{metric}", "class": "p1", "device": "a", "value": "${payload.value}"},
        {"match": "devices/a/{metric}", "device": "a", "value": "${payload.value}"},
    ]
    outbox = Fillable()
    spec = {"mqtt": {"host": "x", "topics": ["devices/#"]}, "rules": rules}
    intake = Intake("devices", device_source.wanted(spec, "s").map(), outbox, FakeClock())
    sent = [said(1, "devices/alarm/n"), said(2)]
    await cut_short(intake, outbox, sent, "p3")
    await intake.take([said(1, "devices/alarm/n", again=True), said(2, again=True)])
    assert outbox.values("p1") == [1]
    assert outbox.values() == [2]


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.parametrize(
    ("classes", "cut"), [(("p1", "p1"), "p1 7200"), (("p3", "p3"), "p3 7200"), (("p3", "p3"), "p3 0")]
)
async def test_each_route_of_a_batch_is_known_by_itself_when_a_cut_came_between(
    classes: tuple[str, str], cut: str
) -> None:
    rules = [
        {
            "match": f"devices/{name}/n",
            "class": class_,
            "ttl": ttl,
            "device": name,
            "metric": "n",
            "value": "${payload.value}",
        }
        for name, class_, ttl in zip("ab", classes, ("1h", "2h"), strict=True)
    ]
    outbox = Fillable()
    spec = {"mqtt": {"host": "x", "topics": ["devices/#"]}, "rules": rules}
    before = Intake("devices", device_source.wanted(spec, "s").map(), outbox, FakeClock())
    await cut_short(before, outbox, [said(1, "devices/a/n"), said(2, "devices/b/n")], cut)
    after = Intake("devices", device_source.wanted(spec, "s").map(), outbox, FakeClock())  # of an agent begun anew
    await after.take([said(1, "devices/a/n", again=True), said(2, "devices/b/n", again=True)])
    assert outbox.values(classes[0]) == [1, 2]


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_reading_that_no_check_foresaw_costs_itself_only() -> None:
    outbox = Fillable()
    taking = Taking("devices", outbox, FakeClock())
    async with taking.together():
        await taking.commit([Reading("a", "m", time, 1) for time in (1, MAX_TIME + 1, 2)])
    assert [each.time for each in outbox.taken["p3"]] == [1, 2]
    assert taking.state.readings == 2
    assert taking.state.rejected["BadReading"].count == 1


async def test_a_window_counts_what_comes_again_once() -> None:
    rule = {
        "match": "devices/a/{metric}",
        "device": "a",
        "value": "${payload.value}",
        "time": "${payload.time}",
        "shape": {"window": {"length": "10s", "aggregates": ["count"]}},
    }
    outbox, clock = Fillable(), FakeClock()
    spec = {"mqtt": {"host": "x", "topics": ["devices/#"]}, "rules": [rule]}
    intake = Intake("devices", device_source.wanted(spec, "s").map(), outbox, clock)
    await cut_short(intake, outbox, [said(1)], "p3")
    await intake.take([said(1, again=True)])
    later = Message("devices/a/n", b'{"value": 1, "time": 1790000060000}', 1_790_000_060_000, b"x" * 10)
    await intake.take([later])
    counts = [each.value for each in outbox.taken["p3"] if each.metric.endswith("count")]
    assert counts == [1]


class Whereabouts:
    """Takes its time to note devices, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = anyio.Event()
        self.may = anyio.Event()
        self.error = error

    async def note(self, *_: Any, **__: Any) -> None:
        self.asked.set()
        await self.may.wait()
        if self.error is not None:
            raise self.error


@pytest.mark.invariant("commit-before-ack")
async def test_a_take_cut_short_after_its_commit_is_known_when_it_comes_again() -> None:
    outbox, whereabouts = Fillable(), Whereabouts()
    noticing = Noticing(outbox, whereabouts, "DeviceSource/s", able=True)  # type: ignore[arg-type]
    intake = Intake("devices", plain(("devices/#",)), noticing, FakeClock())
    async with anyio.create_task_group() as group:
        group.start_soon(intake.take, [said(1)])
        await whereabouts.asked.wait()
        group.cancel_scope.cancel()
        whereabouts.may.set()
    await intake.take([said(1, again=True)])
    assert outbox.values() == [1]


@pytest.mark.invariant("outbox-never-blocks-reconcile")
@pytest.mark.parametrize("error", [TransientError("x", reason="DiskFull"), PermanentError("x", reason="Damaged")])
async def test_readings_are_taken_though_nobody_can_note_where_their_devices_are(error: Exception) -> None:
    outbox, whereabouts = Fillable(), Whereabouts(error)
    whereabouts.may.set()
    noticing = Noticing(outbox, whereabouts, "DeviceSource/s", able=True)  # type: ignore[arg-type]
    await Intake("devices", plain(("devices/#",)), noticing, FakeClock()).take([said(1)])
    assert outbox.values() == [1]
