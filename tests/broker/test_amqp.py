"""A queue of a real RabbitMQ, our input and the outbox: what survives when either end is killed."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.ingest import amqp, amqp_frames
from holdfast_edge.ingest.amqp import Feed, run_amqp
from holdfast_edge.ingest.amqp_frames import Room
from holdfast_edge.ingest.intake import Intake
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime.link import LinkState
from support import rabbitmq
from support.clock import eventually
from support.devices import stored_readings, stored_records
from support.queues import emptied, hang_when_stored, holding, ingesting, refuse_to_store, settled, values, why_it_waits
from support.sources import running_sources, secret, source
from support.streams import open_outbox

pytestmark = pytest.mark.anyio
_names = count(1)
MIB = 1024 * 1024


@pytest.fixture
def broker(rabbit: rabbitmq.RabbitMQ) -> rabbitmq.RabbitMQ:
    return rabbit


@pytest.fixture
def feed(broker: rabbitmq.RabbitMQ) -> Feed:
    """A queue of its own for each test, bound to the topic exchange every broker has."""
    name = f"q{next(_names)}"
    return Feed("127.0.0.1", broker.port, name, "guest", "guest", exchange="amq.topic", keys=(f"{name}.#",))


def ingest(feed: Feed, outbox: Outbox) -> AbstractAsyncContextManager[list[LinkState]]:
    return ingesting(run_amqp, feed, f"{feed.queue}/#", outbox)


def device(feed: Feed) -> AbstractAsyncContextManager[rabbitmq.Publish]:
    return rabbitmq.device(feed.port, f"{feed.queue}.press-1.count")


def stored_more_than(outbox: Outbox, rows: int) -> bool:
    return outbox.depth()["p3"].rows > rows


async def waiting(feed: Feed) -> int:
    return await rabbitmq.waiting(feed.port, feed.queue)


async def leaves(feed: Feed, outbox: Outbox) -> None:
    """Wait until all of it has left the queue."""
    await emptied(partial(waiting, feed), partial(ingest, feed, outbox))


async def test_messages_of_a_bound_queue_become_readings_and_leave_it(feed: Feed, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox), device(feed) as publish:
        for number in range(300):
            await publish(number)
        await eventually(lambda: outbox.depth()["p3"].rows == 300)
    assert await values(outbox) == list(range(300))
    assert (await stored_readings(outbox))[0].device == "press-1"
    await leaves(feed, outbox)
    outbox.close()


async def test_a_queue_that_is_there_is_used_as_it_is(feed: Feed, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with rabbitmq.channel(feed.port) as it:
        queue = await it.declare_queue(feed.queue, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind("amq.topic", f"{feed.queue}.#")
    async with ingest(feed, outbox), device(feed) as publish:
        await publish(1)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_what_was_committed_and_not_acknowledged_is_stored_once(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, lose, taken = open_outbox(tmp_path), [True] * 5, Intake.take

    async def take_and_die(self: Intake, messages: Any) -> Any:
        answers = await taken(self, messages)
        if lose and messages:
            lose.pop()
            raise LinkLost("killed between commit and acknowledgement")
        return answers

    monkeypatch.setattr(Intake, "take", take_and_die)
    async with ingest(feed, outbox) as states, device(feed) as publish:
        for number in range(40):
            await publish(number)
            if number % 8 == 0:
                await eventually(partial(stored_more_than, outbox, number))
        await eventually(lambda: not lose and outbox.depth()["p3"].rows == 40)
        await eventually(lambda: settled(states) == 6)
    assert await values(outbox) == list(range(40))
    await leaves(feed, outbox)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_nothing_is_acknowledged_while_the_outbox_cannot_commit(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path)
    tried = refuse_to_store(outbox, monkeypatch)
    async with ingest(feed, outbox), device(feed) as publish:
        for number in range(3):
            await publish(number)
        await eventually(lambda: len(tried) > 3)
    await holding(partial(waiting, feed), 3)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_the_memory_of_what_was_taken_outlives_the_agent(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path)
    with monkeypatch.context() as patched:
        dead = hang_when_stored(patched)
        async with ingest(feed, outbox), device(feed) as publish:
            await publish(1)
            await dead.wait()
    outbox.close()
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox), device(feed) as publish:
        await publish(2)
        await eventually(lambda: outbox.depth()["p3"].rows >= 2)
    assert await values(outbox) == [1, 2]
    outbox.close()


async def test_equal_messages_without_an_id_are_all_stored(feed: Feed, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox), device(feed) as publish:
        for _ in range(10):
            await publish(7, ident=False)
        await eventually(lambda: outbox.depth()["p3"].rows == 10)
    outbox.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_what_is_no_reading_is_counted_and_blocks_nothing(feed: Feed, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox), device(feed) as publish:
        for number, body in enumerate((b"nonsense", b"\xff" * 100_000, b"5")):
            await publish(number, body=body)
        await eventually(lambda: outbox.depth()["p3"].rows == 1 and outbox.depth()["p2"].rows >= 1)
    await leaves(feed, outbox)
    assert {record.kind for record in await stored_records(outbox)} == {"Rejected"}
    outbox.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_flood_of_large_messages_is_held_in_part_and_counted_whole(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(Room):
        most = 0

        def take(self, size: int) -> None:
            super().take(size)
            Watched.most = max(Watched.most, self._held)
            held.append(self)

    held: list[Room] = []
    outbox, may, commit = open_outbox(tmp_path), anyio.Event(), Intake.take

    async def take(self: Intake, messages: Any) -> Any:
        await may.wait()
        return await commit(self, messages)

    monkeypatch.setattr(amqp, "Room", Watched)
    monkeypatch.setattr(amqp_frames, "PATIENCE", 0.01)
    monkeypatch.setattr(Intake, "take", take)
    async with device(feed) as publish:
        async with rabbitmq.channel(feed.port) as it:
            queue = await it.declare_queue(feed.queue, durable=True)
            await queue.bind("amq.topic", f"{feed.queue}.#")
        for number in range(120):
            await publish(number, body=bytes(MIB))
        await publish(120)
        async with ingest(feed, outbox) as states:
            await eventually(lambda: held and held[-1].is_full)
            may.set()
            await eventually(lambda: outbox.depth()["p3"].rows == 1 and outbox.depth()["p2"].rows >= 1)
            await eventually(lambda: held[-1]._held == 0)  # all of it is acknowledged
            assert settled(states) == 1
    assert Watched.most <= amqp_frames.MOST + amqp_frames.AT_ONCE + amqp_frames.CUT
    await leaves(feed, outbox)
    (first, *_) = await stored_records(outbox)
    assert first.body["reason"] == "TooLarge"
    outbox.close()


async def test_a_queue_that_is_not_there_a_wrong_password_and_nobody_are_said(feed: Feed, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    absent = Feed("127.0.0.1", feed.port, "absent", "guest", "guest")
    wrong = Feed("127.0.0.1", feed.port, "absent", "guest", "wrong")
    nobody = Feed("127.0.0.1", 1, "absent", "guest", "guest")
    for reason, tried in (("NoQueue", absent), ("Refused", wrong), ("Unreachable", nobody)):
        assert await why_it_waits(run_amqp, tried, outbox) == reason
    outbox.close()


async def test_a_queue_that_is_deleted_is_made_again(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "LOOK_EVERY", 0.05)
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox) as states:
        async with rabbitmq.channel(feed.port) as it:
            await it.queue_delete(feed.queue)
        await eventually(lambda: settled(states) == 2)
        async with device(feed) as publish:
            await publish(1)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
    outbox.close()


async def test_a_device_source_of_type_amqp_has_tls_a_password_and_rules(
    broker: rabbitmq.RabbitMQ, feed: Feed, tmp_path: Path
) -> None:
    outbox = open_outbox(tmp_path / "outbox")
    texts = secret("rabbit", password="guest", ca=broker.authority.cert)
    section = {
        "host": "127.0.0.1",
        "port": broker.tls_port,
        "queue": feed.queue,
        "exchange": "amq.topic",
        "keys": [f"{feed.queue}.#"],
        "username": "guest",
        "password": {"secret": "rabbit", "key": "password"},
        "tls": {"ca": {"secret": "rabbit", "key": "ca"}},
    }
    rules = [{"match": "{queue}/{device}/{metric}", "value": "${payload}", "unit": "pcs"}]
    wanted = source(amqp=section, rules=rules)
    async with running_sources(tmp_path / "sources", outbox) as site:
        await site.apply(wanted, texts)
        await eventually(site.is_connected)
        async with device(feed) as publish:
            await publish(3)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
        assert (await site.look(wanted, texts)).readiness == "ready"
        await site.apply(source(amqp=section | {"tls": {}}, rules=rules), texts)  # nobody we know has signed it
        await eventually(lambda: any(state.reason == "NotTrusted" for state in site.sources.states.values()))
    [reading] = await stored_readings(outbox)
    assert (reading.device, reading.metric, reading.value, reading.unit) == ("press-1", "count", 3, "pcs")
    outbox.close()


async def test_a_broker_killed_in_the_middle_loses_and_repeats_nothing(
    broker: rabbitmq.RabbitMQ, feed: Feed, tmp_path: Path
) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(feed, outbox) as states:
        async with device(feed) as publish:
            for number in range(100):
                await publish(number)
        await anyio.to_thread.run_sync(broker.kill)
        await anyio.to_thread.run_sync(broker.start)
        await eventually(lambda: settled(states) == 2)
        async with device(feed) as publish:
            for number in range(100, 150):
                await publish(number)
        await eventually(lambda: outbox.depth()["p3"].rows >= 150)
    assert sorted(await values(outbox)) == list(range(150))
    outbox.close()
