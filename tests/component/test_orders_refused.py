"""Orders that a broker does not take for their size: they end, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.core.sparkplug.host import Publish
from holdfast_edge.ingest import sparkplug
from holdfast_edge.ingest.orders import run_orders
from holdfast_edge.ingest.sparkplug_orders import Telling
from holdfast_edge.store.orders import Order, Orders
from holdfast_edge.store.whereabouts import BUILT_IN
from holdfast_protocol.runtime.mqtt import Options
from holdfast_protocol.wire.commands import Command
from support.broker import FakeBroker
from support.builders import FLEET, SITE
from support.clock import FakeClock, Running, eventually
from support.hubs import NODE

pytestmark = pytest.mark.anyio
SOURCE = "DeviceSource/line"


class Broker:
    host, port = "site", 1883


async def give(orders: Orders, clock: FakeClock, id_: str, data: Any, kind: Any = "command") -> None:
    now = int(clock.wall() * 1000)
    deadline = now + 60_000 if kind == "command" else 0
    more = {"version": 1} if kind == "desire" else {}
    await orders.take(Command(FLEET, SITE, NODE, id_, kind, "oven", "n", data, deadline=deadline, at=now, **more), now)


async def outcomes(orders: Orders) -> list[tuple[str, str, str]]:
    return [(each.id, each.outcome, each.reason) for each in await orders.unreplied()]


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_an_order_too_large_for_its_broker_fails_and_the_next_is_given(tmp_path: Path) -> None:
    broker, orders, clock = FakeBroker(duplicate=0, drop=0, max_packet=300), Orders(tmp_path, 0), FakeClock()
    await orders.whereabouts.note({"oven"}, BUILT_IN, able=True)
    await give(orders, clock, "large", "x" * 1000)
    await give(orders, clock, "wanted", {"p": "x" * 1000}, "desire")
    await give(orders, clock, "small", "x")
    async with Running(lambda: run_orders(broker.dial, Broker(), orders, clock)):
        await eventually(lambda: [each.topic for each in broker.published] == ["commands/oven/n"])
    assert ("large", "failed", "Refused") in await outcomes(orders)
    orders.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_sparkplug_command_too_large_for_its_broker_fails_and_the_next_is_told(tmp_path: Path) -> None:
    broker, orders, clock = FakeBroker(duplicate=0, drop=0, max_packet=300), Orders(tmp_path, 0), FakeClock()
    await orders.whereabouts.note({"oven"}, SOURCE, able=True)
    await give(orders, clock, "large", "x" * 1000)
    await give(orders, clock, "small", "x")
    connection = broker.dial(Options(client_id="host"))
    await connection.connect()

    async def said(order: Order) -> Publish:
        return Publish("to/oven", order.data.encode())

    async def publish(command: Publish) -> None:
        await sparkplug._publish(connection, command)

    async with Running(lambda: Telling(orders, clock, SOURCE).run(said, publish)):
        await eventually(lambda: [each.payload for each in broker.published] == [b"x"])
    assert await outcomes(orders) == [("large", "failed", "Refused")]
    orders.close()
