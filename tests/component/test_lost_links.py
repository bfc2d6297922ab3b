"""What was read before a link was lost is taken all the same: the broker that sent it may have died with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity

from holdfast_edge.core.amqp10.receiver import Terms
from holdfast_edge.ingest import amqp, amqp10
from holdfast_edge.ingest.amqp_frames import Room
from holdfast_edge.ingest.intake import BATCH, Intake
from holdfast_edge.ingest.mqtt import run_mqtt
from holdfast_edge.ingest.sparkplug import run_sparkplug
from holdfast_edge.ingest.taking import Taking
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.kinds import bridge
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.relay.queue import Bounds, open_queue
from holdfast_protocol.relay.take import Taker
from holdfast_protocol.relay.take import Taking as BridgeTaking
from holdfast_protocol.runtime.link import run_link
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Options
from holdfast_protocol.wire.readings import Reading
from support.bridges import Sink
from support.clock import FakeClock, Running, eventually
from support.sources import Hasty
from support.sparkplug import Metric, Node

pytestmark = pytest.mark.anyio
OPTIONS = Options(client_id="me")


class Dying:
    """A connection that has read some batches, and whose broker is gone from the first word to it on."""

    def __init__(self, *batches: Sequence[Delivery], subscribes: bool = True, publishes: bool = True) -> None:
        self.batches = list(batches)
        self.is_closed = anyio.Event()
        self._subscribes = subscribes
        self._publishes = publishes
        self._said = anyio.Event()

    async def connect(self) -> Connected:
        return Connected(True, 100, 2**20)

    async def subscribe(self, *_: Any, **__: Any) -> None:
        self._say(self._subscribes)

    async def publish(self, *_: Any, **__: Any) -> int:
        self._say(self._publishes)
        return 0

    def _say(self, works: bool) -> None:
        if not works:
            self._said.set()
            raise LinkLost("gone", reason="Lost")

    async def receive_all(self, *_: Any, **__: Any) -> list[Delivery]:
        if not (self._subscribes and self._publishes):
            await self._said.wait()  # whoever speaks sees the loss first
        if not self.batches:
            raise LinkLost("gone", reason="Lost")
        return list(self.batches.pop(0))

    def acknowledge(self, *deliveries: Delivery) -> None:
        if deliveries:
            raise LinkLost("gone", reason="Lost")

    async def round_trip(self, **_: Any) -> None:
        raise LinkLost("gone", reason="Lost")

    async def leave(self) -> bool:
        return False

    async def close(self) -> None:
        self.is_closed.set()


class Later(Dying):
    """A connection on which nothing comes."""

    async def receive_all(self, *_: Any, **__: Any) -> list[Delivery]:
        await anyio.sleep_forever()
        raise AssertionError


class Once:
    """Dials a connection that dies, and after it one on which nothing comes."""

    def __init__(self, dying: Dying) -> None:
        self._next = [dying]

    def dial(self, _: Options) -> Connection:
        return self._next.pop() if self._next else Later()


class Store(Sink):
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    @property
    def values(self) -> list[Any]:
        return [each.value for each in self.readings]

    async def append_readings(self, readings: Any, **_: Any) -> None:
        await anyio.sleep(0)  # as a commit is: others run meanwhile
        self.readings += readings


def said(number: int, qos: int = 1) -> Delivery:
    return Delivery("devices/a/m", b"%d" % number, qos, False, False, number if qos else 0)


@pytest.mark.invariant("commit-before-ack")
async def test_messages_read_before_an_acknowledgement_finds_the_link_lost_are_taken() -> None:
    store, clock = Store(), FakeClock()
    once = Once(Dying([said(1), said(2)], [said(3)], [said(4)]))
    intake = Intake("devices", plain(("devices/#",)), store, clock)
    async with Running(lambda: run_mqtt(once.dial, lambda: OPTIONS, ("devices/#",), intake, clock)):
        await eventually(lambda: store.values == [1, 2, 3, 4])


@pytest.mark.invariant("commit-before-ack")
async def test_a_bridge_takes_what_was_read_before_an_acknowledgement_finds_the_link_lost(tmp_path: Path) -> None:
    held, stands = open_queue(tmp_path / "q.db", Bounds(2**20, 1000), Hasty()), list[int]()
    want = bridge.wanted({"remote": {"host": "far"}, "out": [{"topic": "devices/#"}]}, "cloud")
    taker = Taker(
        BridgeTaking("out", want.out, "here", 5), held, Hasty(), lambda _, stand: stands.append(stand.waiting)
    )
    once = Once(Dying([said(1), said(2)], [said(3)]))
    async with Running(lambda: run_link(once.dial, lambda: OPTIONS, taker.run, Hasty())):
        await eventually(lambda: stands == [2, 3])
    held.close()


def _metric(value: int) -> Any:
    return Metric(name="m", datatype=3, int_value=value)


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.parametrize("fails", ["acknowledgement", "subscription", "publish"])
async def test_sparkplug_data_read_before_the_link_was_lost_is_taken(fails: str) -> None:
    store, clock, node = Store(), FakeClock(), Node()
    words = [node.birth(_metric(1)), node.data(_metric(2)), node.data(_metric(3))]
    qos = 1 if fails == "acknowledgement" else 0
    batches = [[Delivery(topic, payload, qos, False, False, qos)] for topic, payload in words]
    once = Once(Dying(*batches, subscribes=fails != "subscription", publishes=fails != "publish"))
    taking = Taking("source/line", store, clock)
    async with Running(lambda: run_sparkplug(once.dial, lambda: OPTIONS, "host", (), taking, clock)):
        await eventually(lambda: store.values == [1, 2, 3])


class Letter:
    """A message of an AMQP broker that is gone."""

    routing_key, redelivered = "devices.a.m", False

    def __init__(self, number: int) -> None:
        self.body = b"%d" % number
        self.message_id = str(number) if number else None

    async def ack(self, **_: Any) -> None:
        raise ChannelInvalidStateError("closed")


@pytest.mark.invariant("commit-before-ack")
async def test_amqp_messages_with_an_id_read_before_an_acknowledgement_finds_the_link_lost_are_taken() -> None:
    store, clock = Store(), FakeClock()
    intake = Intake("devices", plain(("devices/#",)), store, clock)
    send, receive = anyio.create_memory_object_stream[Any](2 * BATCH)
    async with send, receive:
        hold = amqp.Hold(send)
        for number in (*range(1, BATCH + 10), 0):
            await hold(Letter(number))  # type: ignore[arg-type]
        await amqp._take(receive, hold, Room(), intake, clock)
    assert store.values == [*range(1, BATCH + 10)]
    assert "closed" in hold.why.message


class Queueless:
    """A channel whose queue was deleted."""

    async def declare_queue(self, *_: Any, **__: Any) -> None:
        raise ChannelNotFoundEntity("no queue")


@pytest.mark.invariant("commit-before-ack")
async def test_amqp_messages_under_way_when_their_queue_is_found_deleted_are_taken() -> None:
    store, clock, may = Store(), FakeClock(), anyio.Event()
    intake, commit = Intake("devices", plain(("devices/#",)), store, clock), store.append_readings

    async def wait_and_commit(readings: Any, **how: Any) -> None:
        await may.wait()
        await commit(readings, **how)

    store.append_readings = wait_and_commit  # type: ignore[method-assign]
    send, receive = anyio.create_memory_object_stream[Any](2 * BATCH)
    async with send, receive, anyio.create_task_group() as group:
        hold = amqp.Hold(send)
        await hold(Letter(1))  # type: ignore[arg-type]
        group.start_soon(amqp._take, receive, hold, Room(), intake, clock)
        await eventually(lambda: intake.taking.lock.locked())
        await amqp._run_looks(Queueless(), "q", hold, Hasty())  # type: ignore[arg-type]
        may.set()
    assert store.values == [1]
    assert hold.why.reason == "NoQueue"


class Deaf:
    """A stream to a broker that is gone."""

    async def send(self, _: bytes) -> None:
        raise anyio.BrokenResourceError


async def test_amqp_1_0_that_finds_the_link_lost_while_it_says_that_it_lives_ends_nothing_but_that() -> None:
    wire = amqp10._Wire(Deaf(), Terms("c", "h", "a"))  # type: ignore[arg-type]
    wire._receiver.idle = 1.0
    await wire.run_living(Hasty())
