"""Device messages on their way into a real outbox, by a broker that does its worst."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.ingest import mqtt
from holdfast_edge.ingest.devices import BATCH, CLIENT_ID, CURSOR, run_devices
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import InputError, TransientError
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading
from support.broker import FakeBroker
from support.clock import FakeClock, Running, eventually, never
from support.devices import Site, stored_readings, stored_records
from support.streams import open_outbox

pytestmark = pytest.mark.anyio


class Patient(FakeClock):
    """Waits of the link and the retries pass at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds if seconds >= 60 else 0)


@asynccontextmanager
async def ingest(fake: FakeBroker, outbox: Outbox, clock: FakeClock) -> AsyncIterator[None]:
    async def loop() -> None:
        await run_devices(fake.dial, Site(), outbox, clock)

    async with Running(loop):
        await eventually(lambda: fake.subscribed(CLIENT_ID))
        yield


def calm() -> FakeBroker:
    return FakeBroker(duplicate=0, drop=0)


async def test_messages_become_readings_with_their_own_time_or_that_of_receipt(tmp_path: Path) -> None:
    fake, outbox, clock = calm(), open_outbox(tmp_path), Patient(wall=1_790_000_000.5)
    async with ingest(fake, outbox, clock):
        fake.publish("devices/press-1/temperature", b'{"value":21.5,"unit":"C","time":5}')
        fake.publish("devices/press-1", b'{"door":true}')
        await eventually(lambda: outbox.depth()["p3"].rows == 2)
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert sorted(await stored_readings(outbox), key=lambda each: each.time) == [
        Reading("press-1", "temperature", 5, 21.5, "C"),
        Reading("press-1", "door", 1_790_000_000_500, True),
    ]
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_nothing_is_acknowledged_while_the_outbox_cannot_commit(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)

    class Full:
        """An outbox on a full disk, until `room`."""

        room = False
        tried = 0

        def cursor(self, name: str) -> bytes:
            return outbox.cursor(name)

        async def append_readings(
            self,
            readings: Sequence[Reading],
            *,
            stream: str = "p3",
            ttl: float = 0.0,
            cursors: Mapping[str, bytes] | None = None,
        ) -> None:
            self.tried += 1
            if not self.room:
                raise TransientError("no space left", reason="DiskFull")
            await outbox.append_readings(readings, stream=stream, ttl=ttl, cursors=cursors)

        async def append_records(self, stream: str, records: Sequence[Record]) -> None:
            await outbox.append_records(stream, records)

    full = Full()

    async def loop() -> None:
        await run_devices(fake.dial, Site(), full, Patient())

    async with Running(loop):
        await eventually(lambda: fake.subscribed(CLIENT_ID))
        for number in range(10):
            fake.publish("devices/a/b", b"%d" % number)
        await eventually(lambda: full.tried >= 3)
        assert fake.waiting(CLIENT_ID) == 10
        full.room = True
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert [reading.value for reading in await stored_readings(outbox)] == list(range(10))
    outbox.close()


@pytest.mark.parametrize("seed", range(6))
async def test_every_message_is_stored_once_whatever_the_broker_repeats_and_drops(tmp_path: Path, seed: int) -> None:
    fake, outbox = FakeBroker(seed, duplicate=0.3, drop=0.03), open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        for number in range(300):
            fake.publish(f"devices/press-{number % 7}/count", str(number).encode())
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert sorted(int(reading.value) for reading in await stored_readings(outbox)) == list(range(300))
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_a_message_committed_before_a_kill_and_delivered_again_after_it_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    append, committed = outbox.append_readings, []

    async def committing(*given: Any, **said: Any) -> None:
        await append(*given, **said)
        committed.append((fake.snapshot(), fake.unacknowledged(CLIENT_ID)))

    monkeypatch.setattr(outbox, "append_readings", committing)
    async with ingest(fake, outbox, Patient()):
        fake.publish("devices/a/b", b"1")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    outbox.close()
    old, delivered = committed[0]
    assert delivered == 1
    fake.restore(old)
    outbox = open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
        fake.publish("devices/a/b", b"1")  # the same text, but a new message
        await eventually(lambda: outbox.depth()["p3"].rows == 2)
    assert [reading.value for reading in await stored_readings(outbox)] == [1, 1]
    outbox.close()


async def test_a_broker_that_forgot_the_session_counts_anew_and_its_messages_are_new(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        fake.publish("devices/a/b", b"1")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0 and outbox.depth()["p3"].rows == 1)
        fake.forget()
        await eventually(lambda: fake.subscribed(CLIENT_ID))
        fake.publish("devices/a/b", b"1")
        fake.doubt(CLIENT_ID)
        await eventually(lambda: outbox.depth()["p3"].rows == 2)
    outbox.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.invariant("every-loss-is-counted")
async def test_what_is_no_reading_is_counted_reported_at_a_bounded_rate_and_blocks_nothing(tmp_path: Path) -> None:
    fake, outbox, clock = calm(), open_outbox(tmp_path), Patient()
    async with ingest(fake, outbox, clock):
        fake.publish("devices/a/b", b"nonsense")
        await eventually(lambda: outbox.depth()["p2"].rows == 1)
        for _ in range(2 * BATCH):
            fake.publish("devices/a/b", b"\xff")
            fake.publish("devices/a/b", b"")
        fake.publish("devices/a/b", b"7")
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
        await never(lambda: outbox.depth()["p2"].rows != 1)
        clock.advance(61)
        await eventually(lambda: outbox.depth()["p2"].rows == 3)
    counts = [(record.body["reason"], record.body["count"]) for record in await stored_records(outbox)]
    assert counts == [("BadJson", 1), ("BadEncoding", 2 * BATCH), ("Empty", 2 * BATCH)]
    outbox.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_rejections_not_yet_reported_survive_a_kill(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        fake.publish("devices/a/b", b"nonsense")
        await eventually(lambda: outbox.depth()["p2"].rows == 1)
        fake.publish("devices/a/b", b"nonsense")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    outbox.close()
    outbox = open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        await eventually(lambda: outbox.depth()["p2"].rows == 2)
    assert sum(record.body["count"] for record in await stored_records(outbox)) == 2
    outbox.close()


async def test_strange_topics_and_payloads_reach_the_report_as_plain_text(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        fake.publish("devices/\ud800\u202e/" + "x" * 5000, json.dumps({"a": "\ud800"}).encode())
        await eventually(lambda: outbox.depth()["p2"].rows == 1)
    (record,) = await stored_records(outbox)
    assert record.body["reason"] == "BadName"
    assert record.body["topic"].startswith("devices/\\ud800\\u202e/x")
    assert len(record.body["topic"]) < 300
    outbox.close()


async def test_retained_values_are_taken_once_and_not_again_at_every_reconnect(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    fake.publish("devices/a/b", b"1", retain=True)
    async with ingest(fake, outbox, Patient()):
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
        for _ in range(3):
            fake.drop()
            await eventually(lambda: CLIENT_ID in fake.clients)
        fake.publish("devices/a/b", b"2")
        await eventually(lambda: outbox.depth()["p3"].rows >= 2)
    assert [reading.value for reading in await stored_readings(outbox)] == [1, 2]
    outbox.close()


async def test_the_memory_of_what_was_taken_is_bounded(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        for number in range(10_000):
            fake.publish("devices/a/b", str(number).encode())
        await eventually(lambda: outbox.depth()["p3"].rows == 10_000)
    assert len(outbox.cursor(CURSOR)) < 42_000
    outbox.close()


async def test_a_broker_that_reads_acknowledgements_late_delivers_nothing_twice(tmp_path: Path) -> None:
    fake, outbox = calm(), open_outbox(tmp_path)
    fake.busy = True
    async with ingest(fake, outbox, Patient()):
        for number in range(10_000):
            fake.publish("devices/a/b", str(number).encode())
        await eventually(lambda: outbox.depth()["p3"].rows == 10_000)
        fake.drop()  # what it has not read by now comes again
        fake.busy = False
        await eventually(lambda: CLIENT_ID in fake.clients)
        fake.publish("devices/a/b", b"10000")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert [reading.value for reading in await stored_readings(outbox)] == list(range(10_001))
    outbox.close()


@pytest.mark.parametrize("busy", [False, True])
async def test_more_than_can_be_remembered_is_stored_once_though_no_question_is_answered_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(mqtt, "MOST", 2_000)
    monkeypatch.setattr(mqtt, "UNCONFIRMED", 10**9)
    fake, outbox = calm(), open_outbox(tmp_path)
    fake.busy = busy
    links: list[LinkState] = []

    async def loop() -> None:
        await run_devices(fake.dial, Site(), outbox, Patient(), on_state=links.append)

    async with Running(loop):
        await eventually(lambda: fake.subscribed(CLIENT_ID))
        for number in range(10_000):
            fake.publish("devices/a/b", str(number).encode())
        await eventually(lambda: outbox.depth()["p3"].rows >= 10_000)
        fake.drop()
        fake.busy = False
        await eventually(lambda: CLIENT_ID in fake.clients)
        fake.publish("devices/a/b", b"10000")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert [reading.value for reading in await stored_readings(outbox)] == list(range(10_001))
    assert sum(each.doing == "connected" for each in links) >= 4
    outbox.close()


async def test_all_that_is_in_doubt_is_known_to_the_next_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "UNCONFIRMED", 10**9)
    fake, outbox = calm(), open_outbox(tmp_path)
    fake.busy = True
    async with ingest(fake, outbox, Patient()):
        for number in range(10_000):
            fake.publish("devices/a/b", str(number).encode())
        await eventually(lambda: outbox.depth()["p3"].rows == 10_000)
        assert max(len(outbox.cursor(name)) for name in outbox._writer.cursors) < 31_000
        fake.drop()
    outbox.close()
    fake.busy = False
    outbox = open_outbox(tmp_path)
    async with ingest(fake, outbox, Patient()):
        fake.publish("devices/a/b", b"10000")
        await eventually(lambda: fake.waiting(CLIENT_ID) == 0)
    assert [reading.value for reading in await stored_readings(outbox)] == list(range(10_001))
    outbox.close()


async def test_topics_that_name_no_device_are_refused_at_the_start(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with pytest.raises(InputError, match=r"\+/devices/#"):
        await run_devices(calm().dial, Site(topics=("+/devices/#",)), outbox, Patient())
    outbox.close()
