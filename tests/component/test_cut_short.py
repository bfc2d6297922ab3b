"""Takes that are cut short while the disk is full: what was not committed is not known when it comes again."""

from typing import Any

import anyio
import pytest

from holdfast_edge.ingest.intake import Intake, Message
from holdfast_edge.ingest.memory import CHUNK, entry_of
from holdfast_edge.ingest.taking import Sink
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds import device_source
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.wire.readings import Reading
from support.clock import FakeClock, eventually

pytestmark = pytest.mark.anyio


class Fillable(Sink):
    """An outbox whose disk is full while `full` says so of a stream."""

    def __init__(self) -> None:
        self.cursors: dict[str, bytes] = {}
        self.taken: dict[str, list[Reading]] = {"p1": [], "p3": []}
        self.full: tuple[str, ...] = ()
        self.refusals = 0

    async def append_readings(self, readings: Any, *, stream: str = "p3", cursors: Any = None, **_: Any) -> None:
        if stream in self.full:
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
