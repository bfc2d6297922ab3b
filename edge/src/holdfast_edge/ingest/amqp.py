"""A queue of an AMQP 0-9-1 broker: what is published is taken, committed, and only then acknowledged.

The one door to aio-pika, imported when a source needs it. A broker that is lost, or a queue that is gone, is tried again
by the same policy as every other link. [inv: commit-before-ack]
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import anyio
import msgspec
from aio_pika import Connection
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.connection import make_url
from aio_pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pamqp.exceptions import PAMQPException
from yarl import URL

from holdfast_edge.ingest.amqp_frames import CUT, Frames, Room
from holdfast_edge.ingest.attempts import CHANCE, run_attempts
from holdfast_edge.ingest.intake import BATCH, Intake, Message
from holdfast_edge.ingest.memory import entry_of
from holdfast_edge.ingest.mqtt import WITHIN
from holdfast_edge.ingest.topics import topic_of
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.mapping.formats import MAX_PAYLOAD
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState

CONNECT_WITHIN: Final = 20.0  # seconds
CLOSE_WITHIN: Final = 2.0  # seconds
LOOK_EVERY: Final = 30.0  # seconds between two looks whether the queue is still there
LOST: Final = (AMQPError, PAMQPException, ChannelInvalidStateError, OSError, EOFError)


class Feed(msgspec.Struct, frozen=True):
    """Where to take messages. With an `exchange` the queue is made, durable, and bound to it by `keys`; without, it is there.

    `prefetch`: messages the broker may send before the first is acknowledged. `heartbeat` in seconds.
    """

    host: str
    port: int
    queue: str
    username: str
    password: str
    virtual_host: str = "/"
    exchange: str = ""
    keys: tuple[str, ...] = ()
    prefetch: int = 500
    heartbeat: int = 30
    tls: ssl.SSLContext | None = None


async def run_amqp(
    feed: Feed,
    intake: Intake,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    chance: Callable[[], float] = CHANCE,
) -> None:
    """Take what comes into the queue until cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await run_attempts(partial(_serve, feed, intake, clock), clock, on_state=on_state, chance=chance)


async def _serve(feed: Feed, intake: Intake, clock: Clock, settle: Callable[[], None]) -> None:
    """Use one connection until it is lost: always raises LinkLost, perhaps in a group."""
    room = Room()
    connection = await connected(feed, room)
    send, receive = anyio.create_memory_object_stream[AbstractIncomingMessage](2 * feed.prefetch)
    connection.close_callbacks.add(lambda *_: send.close())
    try:
        async with send, receive:
            hold = Hold(send)
            channel = await _consuming(connection, feed, hold)
            settle()
            async with anyio.create_task_group() as group:
                group.start_soon(_run_looks, channel, feed.queue, hold, clock)
                await _take(receive, hold, room, intake, clock)
                raise hold.why
    finally:
        room.leave()
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_WITHIN):
            await close(connection)


async def _consuming(connection: AbstractConnection, feed: Feed, hold: "Hold") -> AbstractChannel:
    try:
        channel, queue = await _ready(connection, feed)
        channel.close_callbacks.add(lambda *_: hold.end())
        await queue.consume(hold)
    except LOST as error:
        raise loss(error) from None
    return channel


async def connected(feed: Feed, room: Room) -> AbstractConnection:
    """Return a connection that is logged in, and reads while there is room. Raises LinkLost."""
    where = make_url(
        host=feed.host,
        port=feed.port,
        login=feed.username,
        password=feed.password,
        virtualhost=feed.virtual_host,
        ssl=feed.tls is not None,
        heartbeat=feed.heartbeat,
    )
    connection = Connection(where, ssl_context=feed.tls, client_properties={"connection_name": "holdfast"})
    connection.kwargs["transport_factory"] = _Bounded(room)
    try:
        await connection.connect(timeout=CONNECT_WITHIN)
    except LOST as error:
        raise loss(error) from None
    return connection


class _Bounded(TransportFactory):
    def __init__(self, room: Room) -> None:
        self._room = room

    async def create(self, url: URL, **how: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await factory.create(url, **how)
        return cast(asyncio.StreamReader, Frames(reader, self._room)), writer


async def _ready(connection: AbstractConnection, feed: Feed) -> tuple[AbstractChannel, AbstractQueue]:
    """Return a channel and its queue. One that is there already is used as it is, whatever its type."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        queue = await channel.declare_queue(feed.queue, passive=True)
    except ChannelNotFoundEntity:
        if not feed.exchange:
            raise
        channel = await connection.channel(publisher_confirms=False)  # the refusal has closed the first one
        queue = await channel.declare_queue(feed.queue, durable=True)
    for key in feed.keys if feed.exchange else ():
        await queue.bind(feed.exchange, key)
    await channel.set_qos(prefetch_count=feed.prefetch)
    return channel, queue


class Hold:
    """Puts deliveries where they wait to be taken; a broker that sends more than was agreed is lost. What waits when it has
    ended is still there."""

    def __init__(self, send: MemoryObjectSendStream[AbstractIncomingMessage]) -> None:
        self._send = send
        self._why: LinkLost | None = None  # as it was seen first

    @property
    def why(self) -> LinkLost:
        return self._why or LinkLost("the broker ended the connection or the channel")

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        try:
            self._send.send_nowait(message)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.end()  # not acknowledged: it comes again

    def end(self, why: LinkLost | None = None) -> None:
        self._why = self._why or why
        self._send.close()


async def _take(
    receive: MemoryObjectReceiveStream[AbstractIncomingMessage], hold: Hold, room: Room, intake: Intake, clock: Clock
) -> None:
    """Take what comes until there will be no more."""
    is_lost = is_over = False
    while not is_over:
        batch, is_over = await _gathered(receive)
        received = int(clock.wall() * 1000)
        messages = [_message(each, received) for each in batch]
        if is_over or is_lost:
            # What has an id is known when it comes again, and the broker may have died with it; the rest comes again.
            await intake.take([message for message in messages if message.entry])
            continue
        await intake.take(messages)
        try:
            await batch[-1].ack(multiple=True)
        except LOST as error:
            is_lost = True
            hold.end(loss(error))
        room.give(sum(len(each.body) for each in batch))


async def _gathered(
    receive: MemoryObjectReceiveStream[AbstractIncomingMessage],
) -> tuple[list[AbstractIncomingMessage], bool]:
    """Return messages, and whether there will be no more."""
    batch: list[AbstractIncomingMessage] = []
    try:
        batch.append(await receive.receive())
        with anyio.move_on_after(WITHIN):
            while len(batch) < BATCH:
                batch.append(await receive.receive())
    except anyio.EndOfStream:
        return batch, True
    return batch, False


def _message(message: AbstractIncomingMessage, received: int) -> Message:
    """Only a message with an id can be known when it comes again: one without may be a second, equal one."""
    key, body = message.routing_key or "", message.body
    entry = entry_of(0, f"{message.message_id}\0{key}", body) if message.message_id else b""
    map_ = _refuse if len(body) == CUT else None
    return Message(topic_of(key), body, received, entry, bool(message.redelivered), map_)


def _refuse(*_: object) -> Rejection:
    return Rejection("TooLarge", f"the limit is {MAX_PAYLOAD} bytes")


async def _run_looks(channel: AbstractChannel, queue: str, hold: Hold, clock: Clock) -> None:
    """See from time to time that the queue is there: not every broker tells a consumer that it was deleted."""
    while True:
        await clock.sleep(LOOK_EVERY)
        try:
            await channel.declare_queue(queue, passive=True)
        except LOST as error:
            hold.end(loss(error))  # who takes commits first what was delivered
            return


async def close(connection: AbstractConnection) -> None:
    """Close a connection, lost or not."""
    try:
        await connection.close()
    except LOST:
        return  # it was lost: there is nothing to close


def loss(error: Exception) -> LinkLost:
    """Return why a connection is of no use any more."""
    wrapped = isinstance(error, AMQPConnectionError) and isinstance(error.__cause__, OSError)
    match error.__cause__ if wrapped else error:
        case AuthenticationError() | ProbableAuthenticationError():
            return LinkLost(f"refused: {error}", reason="Refused")
        case ssl.SSLCertVerificationError() as unbelieved:
            return LinkLost(f"not believed: {unbelieved.verify_message}", reason="NotTrusted")
        case ChannelNotFoundEntity():
            return LinkLost(f"not there: {error}", reason="NoQueue")
        case TimeoutError():
            return LinkLost("no answer in time", reason="Unreachable")
        case OSError():
            return LinkLost(f"unreachable: {error}", reason="Unreachable")
    return LinkLost(f"lost: {error or type(error).__name__}")
