"""Orders to Sparkplug devices: told once, when they are online, and answered by what they say themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.core.sparkplug.host import Publish
from holdfast_edge.ingest import sparkplug_orders
from holdfast_edge.ingest.sparkplug_orders import Telling
from holdfast_edge.store.orders import Order, Orders
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.commands import Command
from holdfast_protocol.wire.readings import Reading
from support.builders import FLEET, SITE
from support.clock import FakeClock, Running, eventually, never
from support.hubs import NODE
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
SOURCE, PRESS = "DeviceSource/line", "plant:line-1:press"


class Line:
    """A host application as far as orders go: who is online, and what was published."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.clock = FakeClock()
        self.online = True
        self.published: list[str] = []
        self.telling = Telling(orders, self.clock, SOURCE)

    async def said(self, order: Order) -> Publish | None:
        if order.name == "none":
            raise Unfit("UnknownMetric", "in no birth")
        return Publish(order.id, b"") if self.online else None

    async def publish(self, command: Publish) -> None:
        self.published.append(command.topic)

    async def run(self) -> None:
        await self.telling.run(self.said, self.publish)

    async def order(self, name: str, data: Any, device: str = PRESS) -> str:
        now = int(self.clock.wall() * 1000)
        id_ = f"{device}-{name}-{data}"
        await self.orders.take(
            Command(FLEET, SITE, NODE, id_, "command", device, name, data, deadline=now + 60_000, at=now), now
        )
        return id_

    async def hear(self, value: Any, quality: str = "good", metric: str = "speed", device: str = PRESS) -> None:
        await self.telling.hear([Reading(device, metric, 7, value, "", quality)])

    async def ended(self) -> list[tuple[str, str, str, Any]]:
        return [(each.id, each.outcome, each.reason, each.answer) for each in await self.orders.unreplied()]


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[Line]:
    orders = Orders(folder, 0)
    await orders.whereabouts.note({PRESS}, SOURCE, able=True)
    await orders.whereabouts.note({"elsewhere"}, "DeviceSource/other", able=True)
    yield Line(orders)
    orders.close()


async def test_what_answers_is_the_device_s_word_for_the_value_and_no_other(tmp_path: Path) -> None:
    async with line(tmp_path) as it, Running(it.run):
        first = await it.order("speed", 900)
        await eventually(lambda: it.published == [first])
        await it.hear(899)
        await it.hear(900, "uncertain")
        await it.hear(900, metric="torque")
        await it.hear(900, device="plant:line-1:mill")
        assert await it.ended() == []
        await it.hear(900)
        await it.hear(900)
        assert await it.ended() == [(first, "answered", "", {"value": 900, "time": 7})]


async def test_what_is_no_metric_fails_at_once_and_another_source_s_device_is_left(tmp_path: Path) -> None:
    async with line(tmp_path) as it, Running(it.run):
        other = await it.order("speed", 1, "elsewhere")
        wrong = await it.order("none", 1)
        with anyio.fail_after(HANGS_S):
            while not (ended := await it.ended()):
                await anyio.sleep(0.002)
        assert ended == [(wrong, "failed", "UnknownMetric", None)]
        assert [each.id for each in await it.orders.open()] == [other]
        assert it.published == []


async def test_a_device_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug_orders, "OFFLINE", 0.005)
    async with line(tmp_path) as it:
        it.online = False
        async with Running(it.run):
            order = await it.order("speed", 5)
            await never(lambda: it.published)
            it.online = True
            await eventually(lambda: it.published == [order])


@pytest.mark.invariant("intent-before-effect")
async def test_after_a_kill_nothing_is_told_again_and_the_answer_is_still_known(tmp_path: Path) -> None:
    async with line(tmp_path) as it:
        async with Running(it.run):
            order = await it.order("speed", 5)
            await eventually(lambda: it.published == [order])
        again = Line(it.orders)
        async with Running(again.run):
            later = await again.order("speed", 6)
            await eventually(lambda: again.published == [later])
            await again.hear(5)
            assert await again.ended() == [(order, "answered", "", {"value": 5, "time": 7})]
