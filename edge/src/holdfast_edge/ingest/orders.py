"""Orders on their way to devices: over the site's broker, by the topics of the settings, until their deadline.

A command is published once, whatever happens: noted before it leaves, it is not published again after a kill in between,
and ends without an answer instead. [inv: intent-before-effect]
"""

from collections.abc import Callable
from typing import Final, Protocol

import anyio
import msgspec

from holdfast_edge.store.orders import Desired, Order, Orders
from holdfast_protocol.errors import TransientError, WireError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Dial, Options, Subscription
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.commands import MAX_DATA, MAX_DEPTH, Outcome, depth

CLIENT_ID: Final = "holdfast-orders"
LOOK: Final = 1.0  # seconds between two looks for deadlines
COMMANDS: Final = "commands"  # commands/{device}/{name}: {"id", "deadline", "data"}
ANSWERS: Final = "answers"  # answers/{device}/{id}: any JSON; {"error": …} is a failure
DESIRED: Final = "desired"  # desired/{device}, retained: {"version", "properties"}


class Place(Protocol):
    """The site's broker."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


async def run_orders(
    dial: Dial,
    place: Place | None,
    orders: Orders,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
) -> None:
    """Give orders until cancelled. `place` None: this site has no devices, and every order fails with that reason."""
    async with anyio.create_task_group() as group:
        group.start_soon(run_deadlines, orders, clock)
        if place is None:
            await _run_refusal(orders, clock)
            return
        options = Options(client_id=CLIENT_ID, host=place.host, port=place.port, max_packet=2 * MAX_DATA)
        giver = Giver(orders, clock)
        await run_link(dial, lambda: options, giver.run, clock, on_state=on_state)


async def run_deadlines(orders: Orders, clock: Clock) -> None:
    """End what is over: `expired` when it was never published, `failed` (NoAnswer) when nothing was answered."""
    while True:
        now = int(clock.wall() * 1000)
        try:
            for order in await orders.open():
                if order.deadline <= now and order.state == "taken":
                    await orders.end(order.id, order.device, "expired", "BrokerAway", None, now)
                elif order.deadline <= now:
                    await orders.end(order.id, order.device, "failed", "NoAnswer", None, now)
        except TransientError as error:
            await clock.sleep(error.after or LOOK)
        await clock.sleep(LOOK)


async def _run_refusal(orders: Orders, clock: Clock) -> None:
    while True:
        changed = orders.changed
        now = int(clock.wall() * 1000)
        try:
            for order in await orders.open():
                await orders.end(order.id, order.device, "failed", "NoDevices", None, now)
        except TransientError as error:
            await clock.sleep(error.after or LOOK)
            continue
        await changed.wait()


class Giver:
    """`run` is the handler of one connection to the site's broker."""

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock

    async def run(self, connection: Connection, connected: Connected) -> None:
        await connection.subscribe([Subscription(f"{ANSWERS}/+/+", retained=2)])
        settled()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_answers, connection)
            told: dict[str, int] = {}
            while True:
                changed = self._orders.changed
                await self._give(connection, told)
                with anyio.move_on_after(60):
                    await changed.wait()

    async def _give(self, connection: Connection, told: dict[str, int]) -> None:
        for wanted in await self._orders.desired():
            if told.get(wanted.device) != wanted.version:
                await connection.publish(f"{DESIRED}/{wanted.device}", _desired(wanted), retain=True)
                told[wanted.device] = wanted.version
        for order in await self._orders.open():
            if order.state == "taken" and order.deadline > self._now() and await self._orders.give(order.id):
                await connection.publish(f"{COMMANDS}/{order.device}/{order.name}", _order(order))

    async def _run_answers(self, connection: Connection) -> None:
        while True:
            delivery = await connection.receive()
            await self._take(delivery)
            connection.acknowledge(delivery)

    async def _take(self, delivery: Delivery) -> None:
        """Record an answer; what is none, or of nothing that was asked, changes nothing.
        [inv: one-bad-message-never-blocks-a-queue]"""
        levels = delivery.topic.split("/")
        if len(levels) != 3:
            return
        try:
            answer = strict.parse(delivery.payload or b"null", limit=MAX_DATA)
        except WireError as error:
            await self._end(levels, "failed", error.reason, None)
            return
        if depth(answer) > MAX_DEPTH:
            await self._end(levels, "failed", "TooDeep", None)
        elif isinstance(answer, dict) and answer.get("error"):
            await self._end(levels, "failed", "DeviceError", answer)
        else:
            await self._end(levels, "answered", "", answer)

    async def _end(self, levels: list[str], outcome: Outcome, reason: str, answer: object) -> None:
        _, device, name = levels
        while True:
            try:
                await self._orders.end(name, device, outcome, reason, answer, self._now())
            except TransientError as error:
                await self._clock.sleep(error.after or LOOK)
            else:
                return

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)


def _order(order: Order) -> bytes:
    return msgspec.json.encode({"id": order.id, "name": order.name, "deadline": order.deadline, "data": order.data})


def _desired(wanted: Desired) -> bytes:
    return msgspec.json.encode({"version": wanted.version, "properties": wanted.properties})
