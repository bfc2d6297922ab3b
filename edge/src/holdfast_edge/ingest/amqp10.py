"""A source of an AMQP 1.0 broker: what it sends is taken, committed, and only then accepted.

What is no reading is rejected once that is counted: a broker may set it aside for a person to look at. While a batch is
committed nothing is read, so that no more than one is ever in memory. [inv: commit-before-ack]
"""

import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import msgspec
from anyio.abc import ByteStream

from holdfast_edge.core.amqp10.message import opened
from holdfast_edge.core.amqp10.receiver import Broken, Delivery, Receiver, Terms
from holdfast_edge.core.amqp10.types import Malformed
from holdfast_edge.ingest.attempts import CHANCE, run_attempts
from holdfast_edge.ingest.intake import BATCH, Intake, Message
from holdfast_edge.ingest.memory import entry_of
from holdfast_edge.ingest.mqtt import WITHIN
from holdfast_edge.ingest.topics import topic_of
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState

CONNECT_WITHIN: Final = 20.0  # seconds, for all of it until the broker has accepted the link
CLOSE_WITHIN: Final = 2.0  # seconds
LARGEST: Final = 96 * 1024  # bytes of one message: a payload is at most 64 KiB, and something is around it
AT_ONCE: Final = 4 * 1024 * 1024  # bytes of messages in one batch, before no more is read
READ: Final = 64 * 1024  # bytes of one read
NO_READING: Final = "amqp:decode-error"  # the condition of what is rejected
_LOST: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Feed10(msgspec.Struct, frozen=True):
    """`server_name`: as in the broker's certificate; "": the host."""

    host: str
    port: int
    terms: Terms
    tls: ssl.SSLContext | None = None
    server_name: str = ""


async def run_amqp10(
    feed: Feed10,
    intake: Intake,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    chance: Callable[[], float] = CHANCE,
) -> None:
    """Take what the broker sends until cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await run_attempts(partial(_serve, feed, intake, clock), clock, on_state=on_state, chance=chance)


async def _serve(feed: Feed10, intake: Intake, clock: Clock, settle: Callable[[], None]) -> None:
    """Use one connection until it is lost: always raises LinkLost, perhaps in a group."""
    wire: _Wire | None = None
    try:
        with anyio.fail_after(CONNECT_WITHIN):
            wire = await _connected(feed)
            await wire.until_ready()
        settle()
        async with anyio.create_task_group() as group:
            group.start_soon(wire.run_living, clock)
            while True:
                await _take(wire, intake, clock)
    except TimeoutError:
        raise LinkLost("no answer in time", reason="Unreachable") from None
    finally:
        if wire is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_WITHIN):
                await wire.close()


async def _connected(feed: Feed10) -> "_Wire":
    try:
        if feed.tls is None:
            return _Wire(await anyio.connect_tcp(feed.host, feed.port), feed.terms)
        name = feed.server_name or feed.host
        stream = await anyio.connect_tcp(feed.host, feed.port, ssl_context=feed.tls, tls_hostname=name)
        return _Wire(stream, feed.terms)
    except ssl.SSLCertVerificationError as unbelieved:
        raise LinkLost(f"not believed: {unbelieved.verify_message}", reason="NotTrusted") from None
    except (ssl.SSLError, *_LOST) as error:
        raise LinkLost(f"unreachable: {error or type(error).__name__}", reason="Unreachable") from None


class _Wire:
    """A connection: one reads, and whoever has something to say sends it whole."""

    def __init__(self, stream: ByteStream, terms: Terms) -> None:
        self.terms = terms
        self._stream = stream
        self._receiver = Receiver(terms)
        self._silence = 2.0 * terms.idle  # seconds
        self._sending = anyio.Lock()
        self._early: list[Delivery] = []  # of a broker that did not wait for credit

    @property
    def says_keys(self) -> bool:
        """Whether a subject is a routing key here, where no annotation says the key: RabbitMQ before its fourth version."""
        return self._receiver.product == "RabbitMQ"

    async def until_ready(self) -> None:
        """Return once the broker has accepted the link. Raises LinkLost."""
        while not self._receiver.is_ready:
            await self.flush()
            self._early += await self._received()
        await self.flush()

    async def read(self) -> list[Delivery]:
        """Return the deliveries that the next bytes complete. Raises LinkLost, also after too long a silence."""
        if self._early:
            early, self._early = self._early, []
            return early
        return await self._received()

    async def _received(self) -> list[Delivery]:
        data = b""
        with anyio.move_on_after(self._silence):
            try:
                data = await self._stream.receive(READ)
            except (ssl.SSLError, *_LOST) as error:
                raise LinkLost(f"lost: {error or type(error).__name__}") from None
        if not data:
            raise LinkLost("the broker says nothing any more", reason="Unreachable")
        try:
            return self._receiver.feed(data)
        except Broken as broken:
            raise LinkLost(str(broken), reason=broken.reason or "Lost") from None

    async def settle(self, deliveries: list[Delivery]) -> None:
        self._receiver.settle(deliveries)
        await self.flush()

    async def flush(self) -> None:
        """Send what is owed. Raises LinkLost."""
        async with self._sending:
            data = self._receiver.output()
            if not data:
                return
            try:
                await self._stream.send(data)
            except (ssl.SSLError, *_LOST) as error:
                raise LinkLost(f"lost: {error or type(error).__name__}") from None

    async def run_living(self, clock: Clock) -> None:
        """Say in time that we are there, also while nothing can be committed."""
        idle = self._receiver.idle
        if not idle:
            return
        while True:
            await clock.sleep(max(idle / 3, 0.2))
            self._receiver.live()
            try:
                await self.flush()
            except LinkLost:
                return  # who takes sees it too, and commits first what was delivered

    async def close(self) -> None:
        self._receiver.close()
        with contextlib.suppress(LinkLost):  # it was lost: there is nobody to tell
            await self.flush()
        with contextlib.suppress(ssl.SSLError, *_LOST):
            await self._stream.aclose()


async def _take(wire: _Wire, intake: Intake, clock: Clock) -> None:
    batch, lost = await _gathered(wire)
    received = int(clock.wall() * 1000)
    messages = [_message(each, wire, received) for each in batch]
    if lost is not None:
        # What has an id is known when it comes again, and the broker may have died with it; the rest comes again.
        await intake.take([message for message in messages if message.entry])
        raise lost
    for delivery, rejection in zip(batch, await intake.take(messages), strict=True):
        delivery.condition = NO_READING if rejection is not None else ""
    await wire.settle(batch)


async def _gathered(wire: _Wire) -> tuple[list[Delivery], LinkLost | None]:
    """Return at least one delivery, or none and why there will be no more."""
    batch: list[Delivery] = []
    try:
        while not batch:
            batch += await wire.read()
            await wire.flush()
        with anyio.move_on_after(WITHIN):
            while len(batch) < BATCH and sum(len(each.body) for each in batch) < AT_ONCE:
                batch += await wire.read()
    except LinkLost as lost:
        return batch, lost
    return batch, None


def _message(delivery: Delivery, wire: _Wire, received: int) -> Message:
    """Only a message with an id can be known when it comes again: one without may be a second, equal one."""
    terms = wire.terms
    if not delivery.body and delivery.size > terms.largest:
        return _refused(terms, received, "TooLarge", f"{delivery.size} bytes, the limit is {terms.largest}")
    try:
        content = opened(delivery.body)
    except Malformed as malformed:
        return _refused(terms, received, "BadMessage", str(malformed))
    key = content.key or (content.subject if wire.says_keys else "")
    topic = topic_of(key) if key else content.subject or content.to or terms.address
    entry = entry_of(0, f"{content.id}\0{topic}", content.body) if content.id else b""
    return Message(topic, content.body, received, entry, content.again)


def _refused(terms: Terms, received: int, reason: str, why: str) -> Message:
    rejection = Rejection(reason, why)
    return Message(terms.address, b"", received, map_=lambda *_: rejection)
