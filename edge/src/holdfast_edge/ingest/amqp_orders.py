"""Orders to devices behind an AMQP 0-9-1 broker: published to an exchange, answered into a queue of ours."""

from collections.abc import Callable
from functools import partial

import aio_pika
import anyio
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from anyio.streams.memory import MemoryObjectReceiveStream

from holdfast_edge.ingest.amqp import CLOSE_WITHIN, LOST, Feed, Hold, close, connected, loss
from holdfast_edge.ingest.amqp_frames import Room
from holdfast_edge.ingest.attempts import CHANCE, run_attempts
from holdfast_edge.ingest.giving import Giver, Way
from holdfast_edge.ingest.topics import topic_of
from holdfast_edge.store.orders import Orders
from holdfast_protocol.errors import LinkLost, PublishRefused
from holdfast_protocol.kinds.carriers import AmqpCommands, filter_of
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState

ANSWERS = 20  # sent before the first is acknowledged
MAX_KEY = 255  # bytes
NO_KEY = 144  # the reason code that MQTT has for a name that is none


async def run_amqp_orders(
    feed: Feed,
    given: AmqpCommands,
    orders: Orders,
    clock: Clock,
    source: str,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    chance: Callable[[], float] = CHANCE,
) -> None:
    """Give orders to devices seen at `source` by its broker, until cancelled."""

    def mine(device: str) -> bool:
        found = orders.whereabouts.place_of(device)
        return found is not None and found.source == source

    giver = Giver(orders, clock, Way(given.topic, given.answer, ""), mine)
    await run_attempts(partial(_serve, feed, given, giver, clock), clock, on_state=on_state, chance=chance)


async def _serve(feed: Feed, given: AmqpCommands, giver: Giver, clock: Clock, settle: Callable[[], None]) -> None:
    """Use one connection until it is lost: always raises LinkLost, perhaps in a group."""
    room = Room()
    connection = await connected(feed, room)
    send, receive = anyio.create_memory_object_stream[AbstractIncomingMessage](2 * ANSWERS)
    connection.close_callbacks.add(lambda *_: send.close())
    try:
        async with send, receive:
            try:
                channel, exchange = await _ready(connection, given, Hold(send))
                channel.close_callbacks.add(lambda *_: send.close())
            except LOST as error:
                raise loss(error) from None
            settle()
            await giver.run(_Amqp(exchange, receive, room, clock))
    finally:
        room.leave()
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_WITHIN):
            await close(connection)


async def _ready(
    connection: AbstractConnection, given: AmqpCommands, hold: Hold
) -> tuple[AbstractChannel, AbstractExchange]:
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.get_exchange(given.exchange, ensure=True)
    queue = await channel.declare_queue(given.queue, durable=True)
    await queue.bind(exchange, topic_of(filter_of(given.answer)).replace("+", "*"))
    await channel.set_qos(prefetch_count=ANSWERS)
    await queue.consume(hold)
    return channel, exchange


class _Amqp:
    """A channel as a carrier; an answer is acknowledged when the next is asked for."""

    def __init__(
        self,
        exchange: AbstractExchange,
        receive: MemoryObjectReceiveStream[AbstractIncomingMessage],
        room: Room,
        clock: Clock,
    ) -> None:
        self._exchange = exchange
        self._receive = receive
        self._room = room
        self._clock = clock
        self._last: AbstractIncomingMessage | None = None

    async def publish(self, topic: str, payload: bytes, deadline: int) -> None:
        key = topic_of(topic)
        if len(key.encode()) > MAX_KEY:
            raise PublishRefused(topic[:MAX_KEY], NO_KEY)
        message = aio_pika.Message(
            payload,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            expiration=max(deadline / 1000 - self._clock.wall(), 0.001),
        )
        try:
            await self._exchange.publish(message, key, mandatory=False)
        except LOST as error:
            raise loss(error) from None

    async def answer(self) -> tuple[str, bytes]:
        try:
            if self._last is not None:
                await self._last.ack()
                self._room.give(len(self._last.body))
            self._last = await self._receive.receive()
        except anyio.EndOfStream:
            raise LinkLost("the broker ended the connection or the channel") from None
        except LOST as error:
            raise loss(error) from None
        return topic_of(self._last.routing_key or ""), self._last.body
