"""Commands and desired properties over the brokers of DeviceSources: MQTT with TLS, RabbitMQ, Sparkplug."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import anyio
import pytest

from holdfast_edge.cli.ingest_view import sources_text
from holdfast_edge.ingest.orders import run_orders
from holdfast_edge.store.orders import Order, Orders
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.whereabouts import Place
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.mqtt import Connection, Options, Subscription, Will
from holdfast_protocol.wire.commands import Command
from support import mosquitto, rabbitmq
from support.builders import FLEET, SITE
from support.certificates import Authority
from support.clock import Running, eventually
from support.hubs import NODE
from support.sources import Site, running_sources, secret, source
from support.sparkplug import Metric, Node, Payload
from support.streams import open_outbox
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
HOUR = 3_600_000


class World:
    def __init__(self, site: Site, orders: Orders, outbox: Outbox) -> None:
        self.site = site
        self.orders = orders
        self.outbox = outbox
        self._count = 0

    async def order(self, device: str, name: str, data: Any = None, milliseconds: int = HOUR) -> str:
        self._count += 1
        now, name_ = int(time.time() * 1000), f"order-{self._count}"
        command = Command(FLEET, SITE, NODE, name_, "command", device, name, data, deadline=now + milliseconds, at=now)
        await self.orders.take(command, now)
        return name_

    async def ended(self, name: str) -> Order:
        with anyio.fail_after(HANGS_S):
            while True:
                for each in await self.orders.unreplied():
                    if each.id == name:
                        return each
                await anyio.sleep(0.005)

    async def seen(self, device: str, *, able: bool = True) -> None:
        """Return once the device was seen at the source."""
        wanted = Place("DeviceSource/hall-a", able)
        await eventually(lambda: self.orders.whereabouts.place_of(device) == wanted)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    orders, outbox = Orders(folder, 0), open_outbox(folder / "outbox")
    clock = SystemClock()
    sources = running_sources(folder / "sources", outbox, orders=orders)
    async with (
        sources as site,
        Running(lambda: run_orders(paho.dial, None, orders, clock, is_carried=lambda: any_carries(site))),
    ):
        yield World(site, orders, outbox)
    outbox.close()
    orders.close()


def any_carries(site: Site) -> bool:
    return any(each.carries for each in site.sources.kept.values())


@asynccontextmanager
async def client(port: int, *topics: str, will: Will | None = None) -> AsyncIterator[Connection]:
    connection = paho.dial(Options(client_id=f"device-{time.monotonic_ns()}", port=port, will=will))
    await connection.connect()
    if topics:
        await connection.subscribe([Subscription(topic) for topic in topics])
    try:
        yield connection
    finally:
        await connection.close()


async def heard(connection: Connection) -> tuple[str, Any]:
    with anyio.fail_after(HANGS_S):
        delivery = await connection.receive()
    connection.acknowledge(delivery)
    return delivery.topic, json.loads(delivery.payload)


@pytest.fixture
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[mosquitto.Mosquitto, int, Authority]]:
    """A broker that lets those in who have a certificate, and its devices by another door."""
    folder, authority, port = tmp_path_factory.mktemp("tls"), Authority(), mosquitto.free_port()
    server = authority.pair("127.0.0.1")
    for name, text in (("ca", authority.cert), ("cert", server.cert), ("key", server.key)):
        (folder / name).write_text(text)
    for each in (folder, *folder.parents[:2], *folder.iterdir()):
        each.chmod(0o755)
    files = f"cafile {folder}/ca\ncertfile {folder}/cert\nkeyfile {folder}/key\n"
    extra = f"listener {port} 127.0.0.1\n{files}require_certificate true\n"
    with mosquitto.running("site.conf", extra=extra) as broker:
        yield broker, port, authority


@pytest.mark.invariant("intent-before-effect")
async def test_a_source_of_mqtt_gives_commands_its_own_way_with_its_own_certificate(
    secured: tuple[mosquitto.Mosquitto, int, Authority], tmp_path: Path
) -> None:
    broker, port, authority = secured
    pair = authority.pair("holdfast")
    pems = secret("pems", ca=authority.cert, cert=pair.cert, key=pair.key)
    mqtt = {
        "host": "127.0.0.1",
        "port": port,
        "topics": ["plant/#"],
        "tls": {field: {"secret": "pems", "key": field} for field in ("ca", "cert", "key")},
        "commands": {"topic": "line/{device}/do/{name}", "answer": "line/{device}/done"},
        "desired": {"topic": "line/{device}/shall"},
    }
    async with world(tmp_path) as made, client(broker.port, "line/+/do/+", "line/+/shall") as device:
        await made.site.apply(source(mqtt=mqtt), pems)
        await eventually(made.site.is_connected)
        wanted = Command(FLEET, SITE, NODE, "w", "desire", "press-1", data={"speed": 4}, version=3, at=1)
        await made.orders.take(wanted, 1)
        early = await made.order("press-1", "open the lid/now", {"by": 5})
        await device.publish("plant/press-1/count", b"1")
        topics = dict([await heard(device), await heard(device)])
        assert topics["line/press-1/shall"] == {"version": 3, "properties": {"speed": 4}}
        given = topics["line/press-1/do/open%20the%20lid%2Fnow"]
        assert (given["id"], given["name"], given["data"]) == (early, "open the lid/now", {"by": 5})
        await device.publish("line/press-1/done", json.dumps({"id": "another", "ok": False}).encode())
        await device.publish("line/press-1/done", json.dumps({"id": early, "ok": True}).encode())
        ended = await made.ended(early)
        assert (ended.outcome, ended.answer) == ("answered", {"id": early, "ok": True})


async def test_a_source_that_carries_no_commands_says_so_and_nobody_means_no_devices(
    secured: tuple[mosquitto.Mosquitto, int, Authority], tmp_path: Path
) -> None:
    broker, _, _ = secured
    async with world(tmp_path) as made, client(broker.port) as device:
        unknown = await made.ended(await made.order("ghost", "open"))
        assert (unknown.outcome, unknown.reason) == ("failed", "NoDevices")
        await made.site.apply(source(mqtt={"host": "127.0.0.1", "port": broker.port, "topics": ["plant/#"]}))
        await eventually(made.site.is_connected)
        await device.publish("plant/press-1/count", b"1")
        await made.seen("press-1", able=False)
        ended = await made.ended(await made.order("press-1", "open"))
        assert (ended.outcome, ended.reason) == ("failed", "NoWay")


async def test_why_commands_do_not_get_on_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        with mosquitto.running("site.conf") as broker:
            resource = source(mqtt={"host": "127.0.0.1", "port": broker.port, "commands": {"qos": 0}})
            await made.site.apply(resource)
            await eventually(made.site.is_connected)
            assert made.site.sources.states[resource.key].orders == ""
        await eventually(lambda: made.site.sources.states[resource.key].orders == "Unreachable")
        shown = sources_text(made.site.sources.shown(1.0))
        assert "DeviceSource/hall-a carries no commands now: Unreachable" in shown
        assert (await made.site.look(resource)).status["ordersReason"] == "Unreachable"


async def test_a_source_of_amqp_publishes_to_an_exchange_and_takes_answers_from_a_queue(
    rabbit: rabbitmq.RabbitMQ, tmp_path: Path
) -> None:
    amqp = {
        "host": "127.0.0.1",
        "port": rabbit.port,
        "queue": "readings",
        "exchange": "amq.topic",
        "keys": ["plant.#"],
        "commands": {"queue": "answers-here"},
    }
    async with world(tmp_path) as made:
        await made.site.apply(source(amqp=amqp, rules=[{"match": "plant/{device}/{metric}"}]))
        await eventually(made.site.is_connected)
        async with await aio_pika.connect(port=rabbit.port, host="127.0.0.1") as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange("amq.topic")
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "commands.*.*")
            await exchange.publish(aio_pika.Message(b"1"), "plant.press/1.count")  # the device press.1
            await made.seen("press.1")
            order = await made.order("press.1", "open", 5)
            with anyio.fail_after(HANGS_S):
                while (message := await queue.get(fail=False)) is None:
                    await anyio.sleep(0.005)
            assert message.routing_key == "commands.press/1.open"
            assert json.loads(message.body)["data"] == 5
            assert message.expiration is not None
            await exchange.publish(aio_pika.Message(b'{"error": "jammed"}'), f"answers.press/1.{order}")
            ended = await made.ended(order)
            long = await made.order("press.1", "x" * 256)
            assert (await made.ended(long)).reason == "Refused"
        assert (ended.outcome, ended.reason, ended.answer) == ("failed", "DeviceError", {"error": "jammed"})


async def test_a_sparkplug_device_is_told_by_the_metric_of_its_birth_and_answers_with_its_data(tmp_path: Path) -> None:
    node = Node("plant", "line-1")
    with mosquitto.running("site.conf") as broker:
        spec = {"host": "127.0.0.1", "port": broker.port, "commands": True}
        will = Will(*node.death(), retain=False)
        async with world(tmp_path) as made, client(broker.port, "spBv1.0/plant/DCMD/#", will=will) as line:
            await made.site.apply(source(sparkplug=spec))
            await eventually(made.site.is_connected)
            speed = {"alias": 7, "datatype": 9}
            await line.publish(*node.birth())
            await line.publish(*node.device_birth("press", Metric(name="Motor/Speed", float_value=1.5, **speed)))
            await made.seen("plant:line-1:press")
            order = await made.order("plant:line-1:press", "Motor/Speed", 0.1)
            with anyio.fail_after(HANGS_S):
                delivery = await line.receive()
            [metric] = Payload.FromString(delivery.payload).metrics
            assert delivery.topic == "spBv1.0/plant/DCMD/line-1/press"
            assert (metric.alias, metric.name, metric.datatype) == (7, "", 9)
            assert metric.float_value == pytest.approx(0.1)
            for value in (1.6, 0.1):
                await line.publish(*node.data(Metric(alias=7, float_value=value, timestamp=2000), device="press"))
            ended = await made.ended(order)
            assert (ended.outcome, ended.answer) == ("answered", {"value": 0.1, "time": 2000})
            for name, data, reason in (("Motor/Speed", "fast", "BadValue"), ("Motor/Torque", 1, "UnknownMetric")):
                ended = await made.ended(await made.order("plant:line-1:press", name, data))
                assert (ended.outcome, ended.reason) == ("failed", reason)
