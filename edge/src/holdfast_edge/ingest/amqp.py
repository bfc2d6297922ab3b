"""A queue of an AMQP 0-9-1 broker: what is published is taken, committed, and only then acknowledged.

The one door to aio-pika, imported when a source needs it. A broker that is lost, or a queue that is gone, is tried again
by the same policy as every other link. [inv: commit-before-ack]
"""

import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import aio_pika
import anyio
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pamqp.exceptions import PAMQPException

from holdfast_edge.ingest.attempts import CHANCE, run_attempts
from holdfast_edge.ingest.intake import BATCH, Intake, Message
from holdfast_edge.ingest.memory import entry_of
from holdfast_edge.ingest.mqtt import WITHIN
from holdfast_edge.ingest.topics import topic_of
from holdfast_protocol.errors import LinkLost
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
    connection = await connected(feed)
    send, receive = anyio.create_memory_object_stream[AbstractIncomingMessage](2 * feed.prefetch)
    connection.close_callbacks.add(lambda *_: send.close())
    try:
        async with send, receive:
            channel = await _consuming(connection, feed, send)
            settle()
            async with anyio.create_task_group() as group:
                group.start_soon(_run_looks, channel, feed.queue, clock)
                await _take(receive, intake, clock)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_WITHIN):
            await close(connection)


async def _consuming(
    connection: AbstractConnection, feed: Feed, send: MemoryObjectSendStream[AbstractIncomingMessage]
) -> AbstractChannel:
    try:
        channel, queue = await _ready(connection, feed)
        channel.close_callbacks.add(lambda *_: send.close())
        await queue.consume(Hold(send))
    except LOST as error:
        raise loss(error) from None
    return channel


async def connected(feed: Feed) -> AbstractConnection:
    """Return a connection that is logged in. Raises LinkLost."""
    try:
        return await aio_pika.connect(
            host=feed.host,
            port=feed.port,
            login=feed.username,
            password=feed.password,
            virtualhost=feed.virtual_host,
            ssl=feed.tls is not None,
            ssl_context=feed.tls,
            timeout=CONNECT_WITHIN,
            heartbeat=feed.heartbeat,
            client_properties={"connection_name": "holdfast"},
        )
    except LOST as error:
        raise loss(error) from None


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
    """Puts deliveries where they wait to be taken; a broker that sends more than was agreed is lost."""

    def __init__(self, send: MemoryObjectSendStream[AbstractIncomingMessage]) -> None:
        self._send = send

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        try:
            self._send.send_nowait(message)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._send.close()  # not acknowledged: it comes again


async def _take(receive: MemoryObjectReceiveStream[AbstractIncomingMessage], intake: Intake, clock: Clock) -> None:
    while True:
        batch, over = await _gathered(receive)
        received = int(clock.wall() * 1000)
        messages = [_message(each, received) for each in batch]
        if over:
            # What has an id is known when it comes again, and the broker may have died with it; the rest comes again.
            await intake.take([message for message in messages if message.entry])
            raise LinkLost("the broker ended the connection or the channel")
        await intake.take(messages)
        try:
            await batch[-1].ack(multiple=True)
        except LOST as error:
            raise loss(error) from None


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
    key = message.routing_key or ""
    entry = entry_of(0, f"{message.message_id}\0{key}", message.body) if message.message_id else b""
    return Message(topic_of(key), message.body, received, entry, bool(message.redelivered))


async def _run_looks(channel: AbstractChannel, queue: str, clock: Clock) -> None:
    """See from time to time that the queue is there: not every broker tells a consumer that it was deleted."""
    while True:
        await clock.sleep(LOOK_EVERY)
        try:
            await channel.declare_queue(queue, passive=True)
        except LOST as error:
            raise loss(error) from None


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
