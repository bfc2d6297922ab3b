"""Orders on their way to devices, until their deadline: by MQTT brokers, and the ends that need none."""

from collections.abc import Callable
from typing import Final, Protocol

import anyio
import anyio.to_thread

from holdfast_edge.ingest.giving import LOOK, Giver, Way
from holdfast_edge.store.orders import Order, Orders
from holdfast_edge.store.whereabouts import BUILT_IN
from holdfast_protocol.errors import MisuseError, PublishRefused, TransientError
from holdfast_protocol.kinds.carriers import filter_of
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Dial, Options, Subscription
from holdfast_protocol.wire.commands import MAX_DATA

CLIENT_ID: Final = "holdfast-orders"
MAX_PACKET: Final = 2 * MAX_DATA  # bytes of an answer and what is around it
TOO_LARGE: Final = 0x95  # MQTT's reason code
QUEUE: Final = 200  # answers held before the socket is no longer read


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
    is_carried: Callable[[], bool] = lambda: False,
    on_state: Callable[[LinkState], None] = lambda _: None,
    unix: str = "",
) -> None:
    """Give orders by the site's broker, and end those that cannot be given, until cancelled. `place` None: there is none;
    `unix`: its socket, if it has one. `is_carried`: whether there is a source that carries commands, so that a device not
    seen yet may be at it."""
    async with anyio.create_task_group() as group:
        group.start_soon(run_deadlines, orders, clock)
        group.start_soon(run_refusals, orders, clock, lambda: place is not None or is_carried())
        if place is not None:
            options = Options(
                client_id=CLIENT_ID, host=place.host, port=place.port, unix=unix, max_packet=MAX_PACKET, queue=QUEUE
            )
            await run_way(dial, lambda: options, orders, clock, BUILT_IN, Way(), on_state=on_state)


async def run_way(
    dial: Dial,
    make_options: Callable[[], Options],
    orders: Orders,
    clock: Clock,
    source: str,
    way: Way,
    *,
    qos: tuple[int, int] = (1, 1),
    on_state: Callable[[LinkState], None] = lambda _: None,
) -> None:
    """Give orders to devices seen at `source` by its broker, until cancelled. The built-in one has those nobody saw, too.
    `qos` of commands and answers, and of desired properties."""

    def mine(device: str) -> bool:
        found = orders.whereabouts.place_of(device)
        return source == BUILT_IN if found is None else found.source == source

    giver = Giver(orders, clock, way, mine)

    async def serve(connection: Connection, _: Connected) -> None:
        if way.answer:
            await connection.subscribe([Subscription(filter_of(way.answer), qos=qos[0], retained=2)])
        settled()
        await giver.run(_Mqtt(connection, qos))

    await run_link(dial, make_options, serve, clock, on_state=on_state)


class _Mqtt:
    """A broker's connection as a carrier; an answer is acknowledged when the next is asked for."""

    def __init__(self, connection: Connection, qos: tuple[int, int]) -> None:
        self._connection = connection
        self._qos = qos
        self._last: Delivery | None = None

    async def publish(self, topic: str, payload: bytes, deadline: int) -> None:
        commands, desired = self._qos
        try:
            await self._connection.publish(topic, payload, qos=commands if deadline else desired, retain=not deadline)
        except MisuseError as error:
            if error.reason != "TooLarge":
                raise
            raise PublishRefused(topic, TOO_LARGE) from None

    async def answer(self) -> tuple[str, bytes]:
        if self._last is not None:
            self._connection.acknowledge(self._last)
        self._last = await self._connection.receive()
        return self._last.topic, self._last.payload


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


async def run_refusals(orders: Orders, clock: Clock, is_hopeful: Callable[[], bool]) -> None:
    """End what no way leads to: the source of the device carries no commands (NoWay), or there is none at all (NoDevices).
    `is_hopeful` may block."""
    while True:
        changed = orders.changed
        now = int(clock.wall() * 1000)
        try:
            open_ = await orders.open()
            hopeful = bool(open_) and await anyio.to_thread.run_sync(is_hopeful)
            for order in open_:
                if reason := _refusal(order, orders, hopeful=hopeful):
                    await orders.end(order.id, order.device, "failed", reason, None, now)
        except TransientError as error:
            await clock.sleep(error.after or LOOK)
            continue
        await changed.wait()


def _refusal(order: Order, orders: Orders, *, hopeful: bool) -> str:
    found = orders.whereabouts.place_of(order.device)
    if order.state != "taken":
        return ""
    if found is not None:
        return "" if found.able else "NoWay"
    return "" if hopeful else "NoDevices"
