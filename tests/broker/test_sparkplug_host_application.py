"""A Sparkplug edge node of another make, a real Mosquitto, our host application and the outbox."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_edge.core.sparkplug.edge_node import EdgeNode
from holdfast_edge.ingest.sparkplug import run_sparkplug
from holdfast_edge.ingest.taking import Taking
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Dial, Options, Subscription, Will
from holdfast_protocol.wire.readings import Reading
from support import mosquitto, proxy
from support.clock import Running, eventually
from support.devices import stored_readings, stored_records
from support.sources import running_sources, source
from support.sparkplug import Metric, Node, is_rebirth_request
from support.streams import open_outbox

pytestmark = pytest.mark.anyio
STATE = "spBv1.0/STATE/holdfast"
LINE = "plant:line-1"


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


@asynccontextmanager
async def host(broker: mosquitto.Mosquitto, outbox: Outbox, dial: Dial = paho.dial) -> AsyncIterator[Callable[[], int]]:
    """Run the host application as an agent does, and yield how to count its successful connections."""
    states: list[LinkState] = []

    def settled() -> int:
        return [state.doing for state in states].count("settled")

    async def loop() -> None:
        options, clock = Options(client_id="holdfast-sparkplug", port=broker.port), Hasty()
        taking = Taking("line", outbox, clock)
        await run_sparkplug(dial, lambda: options, "holdfast", (), taking, clock, on_state=states.append)

    async with Running(loop):
        await eventually(settled)
        yield settled


class Line:
    """An edge node: its births say the value it has, its data count on; it is born again when it is asked."""

    def __init__(self, connection: Connection, node: Node) -> None:
        self.node = node
        self.requests = 0
        self.value = 0
        self._connection = connection

    async def be_born(self) -> None:
        await self._say(self.node.birth(self._metric(name="count", datatype=4)))
        await self._say(
            self.node.device_birth("press", Metric(name="on", alias=2, datatype=11, boolean_value=True, timestamp=5))
        )

    async def count(self, upto: int, qos: int = 0) -> None:
        while self.value < upto:
            self.value += 1
            await self._say(self.node.data(self._metric()), qos)

    async def answer(self) -> None:
        while True:
            delivery = await self._connection.receive()
            self._connection.acknowledge(delivery)
            if is_rebirth_request(delivery.payload):
                self.requests += 1
                await self.be_born()

    def _metric(self, **more: Any) -> Any:
        return Metric(alias=1, long_value=self.value, timestamp=1000 + self.value, **more)

    async def _say(self, message: tuple[str, bytes], qos: int = 0) -> None:
        await self._connection.publish(*message, qos=qos)


@asynccontextmanager
async def line(broker: mosquitto.Mosquitto, name: str = "line-1") -> AsyncIterator[Line]:
    node = Node("plant", name)
    connection = paho.dial(Options(client_id=name, port=broker.port, will=Will(*node.death(), retain=False)))
    await connection.connect()
    await connection.subscribe([Subscription(node.command_topic)])
    it = Line(connection, node)
    try:
        async with Running(it.answer):
            await it.be_born()
            yield it
    finally:
        await connection.close()


@asynccontextmanager
async def listener(broker: mosquitto.Mosquitto, topic: str) -> AsyncIterator[tuple[Connection, list[Delivery]]]:
    connection = paho.dial(Options(client_id="listener", port=broker.port))
    await connection.connect()
    await connection.subscribe([Subscription(topic)])
    found: list[Delivery] = []

    async def listen() -> None:
        while True:
            found.append(await connection.receive())
            connection.acknowledge(found[-1])

    async with Running(listen):
        yield connection, found
    await connection.close()


async def counts(outbox: Outbox) -> list[object]:
    return [each.value for each in await stored_readings(outbox) if each.metric == "count"]


async def test_births_and_data_over_the_wrap_of_the_sequence_become_readings(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        async with host(broker, outbox), line(broker) as it:
            await it.count(600)
            await eventually(lambda: outbox.depth()["p3"].rows == 602)
        assert it.requests == 0
    assert await counts(outbox) == list(range(601))
    assert Reading(f"{LINE}:press", "on", 5, True) in await stored_readings(outbox)
    outbox.close()


async def test_the_host_says_that_it_is_there_and_the_broker_when_it_is_not(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)

    def said(found: list[Delivery]) -> list[bool]:
        return [json.loads(each.payload)["online"] for each in found]

    with mosquitto.running("site.conf") as broker:
        async with listener(broker, STATE) as (other, found):
            async with host(broker, outbox):
                await eventually(lambda: said(found) == [True])
                claim = json.loads(found[0].payload)
                await other.publish(STATE, json.dumps({"online": False, "timestamp": 1}).encode(), retain=True)
                await eventually(lambda: said(found) == [True, False, True])
                assert json.loads(found[-1].payload) == claim
            await eventually(lambda: said(found) == [True, False, True, False])
        async with listener(broker, STATE) as (_, kept):
            await eventually(lambda: said(kept) == [False] and kept[0].retain)
    outbox.close()


async def test_a_host_that_is_cut_off_is_said_to_be_offline_by_its_will_and_claims_to_be_back(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        async with listener(broker, STATE) as (_, found), proxy.running("127.0.0.1", broker.port) as way:
            async with host(broker, outbox, through(way)) as settled:
                await eventually(lambda: found)
                way.reset()
                await eventually(lambda: len(found) >= 2)
                way.restore()
                await eventually(lambda: settled() >= 2 and len(found) >= 3)
                claims = [json.loads(each.payload) for each in found[:3]]
            assert [claim["online"] for claim in claims] == [True, False, True]
            assert claims[0]["timestamp"] == claims[1]["timestamp"] < claims[2]["timestamp"]
    outbox.close()


def through(way: proxy.Proxy) -> Dial:
    return lambda options: paho.dial(msgspec.structs.replace(options, port=way.port))


async def test_after_a_restart_known_nodes_are_asked_for_a_birth_and_nothing_comes_twice(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        async with line(broker) as it:
            async with host(broker, outbox):
                await it.be_born()
                await it.count(5)
                await eventually(lambda: outbox.depth()["p3"].rows == 7)
            outbox.close()
            outbox = open_outbox(tmp_path)
            async with host(broker, outbox):
                await eventually(lambda: it.requests)
                await eventually(lambda: outbox.depth()["p3"].rows == 9)  # what holds now
                await it.count(10)
                await eventually(lambda: outbox.depth()["p3"].rows == 14)
    assert await counts(outbox) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    outbox.close()


async def test_a_node_that_dies_without_a_word_leaves_uncertain_values_and_an_event(tmp_path: Path) -> None:
    outbox, node = open_outbox(tmp_path), Node("plant", "line-1")
    with mosquitto.running("site.conf") as broker:
        async with host(broker, outbox), proxy.running("127.0.0.1", broker.port) as way:
            doomed = paho.dial(Options(client_id="line-1", port=way.port, will=Will(*node.death(), retain=False)))
            await doomed.connect()
            await doomed.publish(*node.birth(Metric(name="count", datatype=4, long_value=3)), qos=0)
            await eventually(lambda: outbox.depth()["p3"].rows == 1)
            way.reset()
            await eventually(lambda: outbox.depth()["p3"].rows == 2)
            await doomed.close()
        assert [(each.value, each.quality) for each in await stored_readings(outbox)] == [(3, "good"), (3, "uncertain")]
        records = [(each.kind, each.body["device"]) for each in await stored_records(outbox)]
        assert records == [("DeviceOnline", LINE), ("DeviceOffline", LINE)]
    outbox.close()


def deaf_to_acknowledgements(lose: list[bool]) -> Dial:
    """Connections of the host that break instead of acknowledging, as often as `lose` says."""

    def dial(options: Options) -> Connection:
        connection = paho.dial(options)
        acknowledge = connection.acknowledge

        def refuse(*deliveries: Delivery) -> None:
            if lose and any(each.topic != STATE for each in deliveries):
                lose.pop()
                connection._fail("killed between commit and acknowledgement", "Lost")  # type: ignore[attr-defined]
            acknowledge(*deliveries)

        connection.acknowledge = refuse  # type: ignore[method-assign]
        return connection

    return dial


@pytest.mark.invariant("commit-before-ack")
async def test_nothing_is_acknowledged_while_the_outbox_cannot_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, tried = open_outbox(tmp_path), []
    acknowledged: list[str] = []

    async def refuse(*_: Any, **__: Any) -> None:
        tried.append(True)
        raise TransientError("no space left", reason="DiskFull")

    def dial(options: Options) -> Connection:
        connection = paho.dial(options)
        acknowledge = connection.acknowledge

        def note(*deliveries: Delivery) -> None:
            acknowledged.extend(each.topic for each in deliveries)
            acknowledge(*deliveries)

        connection.acknowledge = note  # type: ignore[method-assign]
        return connection

    with mosquitto.running("site.conf") as broker:
        async with line(broker) as it, host(broker, outbox, dial):
            await eventually(lambda: acknowledged == [STATE])
            with monkeypatch.context() as full:
                full.setattr(outbox, "append_readings", refuse)
                await it.count(2, qos=1)
                await eventually(lambda: len(tried) > 3)
                assert acknowledged == [STATE]
            await eventually(lambda: len(acknowledged) == 3)
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_messages_at_qos_1_are_stored_once_however_often_the_host_is_killed_before_it_acknowledges(
    tmp_path: Path,
) -> None:
    outbox, lose = open_outbox(tmp_path), [True] * 5
    with mosquitto.running("site.conf") as broker:
        async with line(broker) as it, host(broker, outbox, deaf_to_acknowledgements(lose)):
            await it.be_born()
            await eventually(lambda: outbox.depth()["p3"].rows == 2)
            for upto in range(1, 41):
                await it.count(upto, qos=1)
                if upto % 8 == 0:
                    await eventually(lambda: outbox.depth()["p3"].rows >= 2 + it.value)
            await eventually(lambda: not lose)
            await it.count(41, qos=1)  # and what is delivered again comes before it
            await eventually(lambda: outbox.depth()["p3"].rows >= 2 + it.value)
    assert await counts(outbox) == list(range(42))
    outbox.close()


async def test_a_broker_killed_in_the_middle_is_found_again_and_the_gap_is_healed_by_births(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        async with host(broker, outbox) as settled:
            async with line(broker) as it:
                await it.count(3)
                await eventually(lambda: outbox.depth()["p3"].rows == 5)
                broker.wipe()
            await eventually(lambda: settled() == 2)
            async with line(broker) as it:
                it.value = 100
                await it.be_born()
                await it.count(103)
                await eventually(lambda: outbox.depth()["p3"].rows >= 8)
    found = await counts(outbox)
    assert found[:4] == [0, 1, 2, 3]
    assert found[-4:] == [100, 101, 102, 103]
    outbox.close()


async def test_our_own_edge_node_is_heard_by_our_host_and_is_born_again_when_asked(tmp_path: Path) -> None:
    outbox, ours = open_outbox(tmp_path), EdgeNode("plant", "line-1")
    with mosquitto.running("site.conf") as broker:
        death = ours.death(1)
        connection = paho.dial(
            Options(client_id="bridge", port=broker.port, will=Will(death.topic, death.payload, retain=False))
        )
        await connection.connect()
        await connection.subscribe([Subscription(ours.commands)])
        asked = anyio.Event()

        async def obey() -> None:
            while True:
                delivery = await connection.receive()
                connection.acknowledge(delivery)
                if ours.asks_for_birth(delivery.topic, delivery.payload):
                    for message in ours.birth(50):
                        await connection.publish(message.topic, message.payload, qos=message.qos)
                    asked.set()

        ours.birth(1), ours.data([Reading("press", "count", 10, 0)], 10)  # nobody listens yet
        async with host(broker, outbox), Running(obey):
            for message in ours.data([Reading("press", "count", 20, 1)], 20):
                await connection.publish(message.topic, message.payload, qos=message.qos)
            await asked.wait()
            for message in ours.data([Reading("press", "count", 30, 2)], 30):
                await connection.publish(message.topic, message.payload, qos=message.qos)
            await eventually(lambda: outbox.depth()["p3"].rows == 2)
        await connection.close()
    assert await stored_readings(outbox) == [
        Reading(f"{LINE}:press", "count", 20, 1),
        Reading(f"{LINE}:press", "count", 30, 2),
    ]
    outbox.close()


async def test_a_device_source_of_type_sparkplug_is_a_host_application(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "outbox")
    with mosquitto.running("site.conf") as broker:
        wanted = source(sparkplug={"host": "127.0.0.1", "port": broker.port, "hostId": "scada", "groups": ["plant"]})
        async with running_sources(tmp_path / "sources", outbox) as site:
            await site.apply(wanted)
            await eventually(site.is_connected)
            async with listener(broker, "spBv1.0/STATE/scada") as (_, found), line(broker) as it:
                await it.count(5)
                await eventually(lambda: outbox.depth()["p3"].rows == 7)
                await eventually(lambda: found)
            assert (await site.look(wanted)).readiness == "ready"
    outbox.close()
