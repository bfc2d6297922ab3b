"""Orders when their database takes nothing for a while: they wait, and nothing else ends."""

from pathlib import Path

import pytest

from holdfast_edge.ingest.orders import run_orders
from holdfast_edge.store.orders import Orders
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.commands import Command
from support.broker import FakeBroker
from support.builders import FLEET, NODE, SITE
from support.clock import Running, eventually
from support.sources import Hasty

pytestmark = pytest.mark.anyio


class Place:
    host, port = "site", 1883


@pytest.mark.invariant("intent-before-effect")
async def test_an_order_that_cannot_be_noted_waits_and_ends_no_loop(tmp_path: Path) -> None:
    orders, broker, refusals = Orders(tmp_path, 0), FakeBroker(duplicate=0, drop=0), 2
    give = orders.give

    async def refuse(name: str) -> bool:
        nonlocal refusals
        if refusals:
            refusals -= 1
            assert not broker.published
            raise TransientError("full", reason="DiskFull", after=0.01)
        return await give(name)

    orders.give = refuse  # type: ignore[method-assign]
    now = int(Hasty().wall() * 1000)
    order = Command(FLEET, SITE, NODE, "c1", "command", "press", "open", {"by": 1}, now + 60_000, at=now)
    async with Running(lambda: run_orders(broker.dial, Place(), orders, Hasty())):
        await orders.take(order, now)
        await eventually(lambda: any(each.topic == "commands/press/open" for each in broker.published))
    orders.close()
