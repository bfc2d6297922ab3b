"""AMQP 1.0 against a real RabbitMQ and against Qpid Proton: what is stored, accepted, rejected, and told again."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec.structs import replace

from holdfast_edge.core.amqp10.receiver import Terms
from holdfast_edge.ingest.amqp10 import LARGEST, Feed10, run_amqp10
from holdfast_edge.ingest.intake import Intake
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState
from support import rabbitmq
from support.clock import Running, eventually
from support.devices import stored_readings
from support.queues import emptied, hang_when_stored, holding, ingesting, refuse_to_store, settled, values, why_it_waits
from support.sources import running_sources, secret, source
from support.streams import open_outbox
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
_names = count(1)


@pytest.fixture
def broker(rabbit: rabbitmq.RabbitMQ) -> rabbitmq.RabbitMQ:
    return rabbit


class Place:
    """A queue bound to the topic exchange every broker has, and one where what is rejected is set aside."""

    def __init__(self, broker: rabbitmq.RabbitMQ) -> None:
        self.port = broker.port
        self.name = f"ten{next(_names)}"

    @property
    def feed(self) -> Feed10:
        terms = Terms("test", "127.0.0.1", f"/amq/queue/{self.name}", username="guest", password="guest", credit=50)
        return Feed10("127.0.0.1", self.port, terms)

    async def make(self) -> None:
        async with rabbitmq.channel(self.port) as it:
            aside = await it.declare_queue(f"{self.name}-aside", durable=True)
            arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": aside.name}
            queue = await it.declare_queue(self.name, durable=True, arguments=arguments)
            await queue.bind("amq.topic", f"{self.name}.#")

    def device(self) -> AbstractAsyncContextManager[rabbitmq.Publish]:
        return rabbitmq.device(self.port, f"{self.name}.press-1.count")

    async def waiting(self, *, aside: bool = False) -> int:
        return await rabbitmq.waiting(self.port, f"{self.name}-aside" if aside else self.name)


@pytest.fixture
async def place(broker: rabbitmq.RabbitMQ) -> Place:
    it = Place(broker)
    await it.make()
    return it


def ingest(place: Place, outbox: Outbox) -> AbstractAsyncContextManager[list[LinkState]]:
    return ingesting(run_amqp10, place.feed, f"{place.name}/#", outbox)


async def leaves(place: Place, outbox: Outbox) -> None:
    """Wait until all of it has left the queue."""
    await emptied(place.waiting, partial(ingest, place, outbox))


async def test_messages_of_an_address_become_readings_and_leave_it(place: Place, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(place, outbox), place.device() as publish:
        for number in range(300):
            await publish(number)
        await eventually(lambda: outbox.depth()["p3"].rows == 300)
    assert await values(outbox) == list(range(300))
    assert (await stored_readings(outbox))[0].device == "press-1"
    await leaves(place, outbox)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_nothing_is_accepted_while_the_outbox_cannot_commit(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path)
    tried = refuse_to_store(outbox, monkeypatch)
    async with ingest(place, outbox), place.device() as publish:
        for number in range(3):
            await publish(number)
        await eventually(lambda: len(tried) > 3)
    await holding(place.waiting, 3)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_what_was_committed_and_not_accepted_is_stored_once_also_after_a_kill(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path)
    with monkeypatch.context() as patched:
        dead = hang_when_stored(patched)
        async with ingest(place, outbox), place.device() as publish:
            await publish(1)
            await dead.wait()
    outbox.close()
    outbox = open_outbox(tmp_path)
    async with ingest(place, outbox), place.device() as publish:
        await publish(2)
        await eventually(lambda: outbox.depth()["p3"].rows >= 2)
    assert await values(outbox) == [1, 2]
    await leaves(place, outbox)
    outbox.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_what_is_no_reading_is_counted_and_set_aside_by_the_broker(place: Place, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(place, outbox), place.device() as publish:
        for number, body in enumerate((b"{", b"", b"1" * (LARGEST + 1), b"x" * 3_000_000)):
            await publish(number, body=body or b"{}")
        await publish(9)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
        await eventually(lambda: outbox.depth()["p2"].rows > 0)
        with anyio.fail_after(HANGS_S):
            while await place.waiting(aside=True) < 4:
                await anyio.sleep(0.01)
    assert await values(outbox) == [9]
    await leaves(place, outbox)
    outbox.close()


async def test_an_absent_address_a_wrong_password_and_nobody_are_said(place: Place, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    feed = place.feed
    terms = feed.terms
    absent = Feed10("127.0.0.1", feed.port, replace(terms, address="/amq/queue/absent"))
    wrong = Feed10("127.0.0.1", feed.port, replace(terms, password="wrong"))
    stranger = Feed10("127.0.0.1", feed.port, replace(terms, username="", has_certificate=True))
    nobody = Feed10("127.0.0.1", 1, terms)
    for reason, tried in (("NoQueue", absent), ("Refused", wrong), ("Refused", stranger), ("Unreachable", nobody)):
        assert await why_it_waits(run_amqp10, tried, outbox) == reason
    outbox.close()


async def test_a_queue_that_goes_is_waited_for(place: Place, tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with ingest(place, outbox) as states:
        async with rabbitmq.channel(place.port) as it:
            await it.queue_delete(place.name)
        await eventually(lambda: any(state.reason == "NoQueue" for state in states))
        await place.make()
        await eventually(lambda: settled(states) == 2)
        async with place.device() as publish:
            await publish(1)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
    outbox.close()


async def test_a_device_source_of_version_1_0_has_tls_a_password_and_rules(
    broker: rabbitmq.RabbitMQ, place: Place, tmp_path: Path
) -> None:
    outbox = open_outbox(tmp_path / "outbox")
    texts = secret("rabbit", password="guest", ca=broker.authority.cert)
    section = {
        "host": "127.0.0.1",
        "port": broker.tls_port,
        "version": "1.0",
        "address": f"/amq/queue/{place.name}",
        "username": "guest",
        "password": {"secret": "rabbit", "key": "password"},
        "tls": {"ca": {"secret": "rabbit", "key": "ca"}},
    }
    rules = [{"match": "{queue}/{device}/{metric}", "value": "${payload}", "unit": "pcs"}]
    wanted = source(amqp=section, rules=rules)
    async with running_sources(tmp_path / "sources", outbox) as site:
        await site.apply(wanted, texts)
        await eventually(site.is_connected)
        async with place.device() as publish:
            await publish(3)
        await eventually(lambda: outbox.depth()["p3"].rows == 1)
        assert (await site.look(wanted, texts)).readiness == "ready"
        await site.apply(source(amqp=section | {"tls": {}}, rules=rules), texts)  # nobody we know has signed it
        await eventually(lambda: any(state.reason == "NotTrusted" for state in site.sources.states.values()))
    [reading] = await stored_readings(outbox)
    assert (reading.device, reading.metric, reading.value, reading.unit) == ("press-1", "count", 3, "pcs")
    outbox.close()


@asynccontextmanager
async def proton(times: int = 1) -> AsyncIterator[tuple[int, Callable[[], Awaitable[dict[str, Any]]]]]:
    """Yield the port of a sender made with Qpid Proton, and how to read what it says next."""
    command = ["/usr/bin/python3", str(Path(__file__).parent.parent / "support" / "proton_inside.py"), str(times)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)

        async def said() -> dict[str, Any]:
            with anyio.fail_after(HANGS_S):
                found: dict[str, Any] = json.loads(await lines.receive_until(b"\n", 10_000))
                return found

        try:
            yield (await said())["port"], said
        finally:
            process.kill()


async def test_proton_s_messages_of_every_shape_are_read_and_each_is_told_what_became_of_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with proton() as (port, said):
        terms = Terms("test", "127.0.0.1", "readings", credit=4, largest=LARGEST, idle=5)
        intake = Intake("source/amqp", plain(("plant/#",)), outbox, SystemClock())
        feed = Feed10("127.0.0.1", port, terms)
        async with Running(lambda: run_amqp10(feed, intake, SystemClock())):
            assert await said() == {"address": "readings", "largest": LARGEST}
            outcomes = []
            while "done" not in (words := await said()):
                outcomes.append(words["outcome"])
    assert outcomes == ["accepted"] * 7 + ["rejected", "accepted", "rejected", "accepted"]
    found = {(reading.metric, reading.value) for reading in await stored_readings(outbox)}
    assert found == {("count", number) for number in range(1, 8)} | {("speed", 1.5), ("on", True), ("text", "x" * 900)}
    assert intake.state.repeated == 1
    assert {reason: each.count for reason, each in intake.state.rejected.items()} == {"TooLarge": 1, "BadValue": 1}
    outbox.close()


async def test_more_messages_than_the_window_holds_flow_on(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with proton(times=400) as (port, said):
        terms = Terms("test", "127.0.0.1", "readings", credit=500, largest=LARGEST)
        intake = Intake("source/amqp", plain(("plant/#",)), outbox, SystemClock())
        async with Running(lambda: run_amqp10(Feed10("127.0.0.1", port, terms), intake, SystemClock())):
            await said()
            while "done" not in await said():
                pass
    assert intake.state.messages == 4_400
    outbox.close()
