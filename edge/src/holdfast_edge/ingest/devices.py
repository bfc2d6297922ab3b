"""From the site's broker into the outbox: a message is acknowledged when its readings are durable, not before.

What comes twice is stored once: the packet identifiers and digests of the last messages are committed together with
their readings, so a redelivery after a kill between commit and acknowledgement is recognised. [inv: commit-before-ack]
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import anyio
import msgspec

from holdfast_edge.core.mapping import Rejection, prefixes, readings_of
from holdfast_protocol.errors import LinkLost, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Dial, Options, Subscription
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading

CURSOR: Final = "devices"
CLIENT_ID: Final = "holdfast-devices"  # one taker a site: of two the broker keeps the newer
BATCH: Final = 500  # messages committed together
WITHIN: Final = 0.05  # seconds that the first message of a batch waits for others
WINDOW: Final = 4096  # messages remembered: more than can come again
UNCONFIRMED: Final = 2048  # messages the broker may still take for not acknowledged; it ignores the Receive Maximum
REPORT_EVERY: Final = 60.0  # seconds between two reports of what was rejected
RETRY: Final = 1.0  # seconds, when the outbox names none
MAX_PACKET: Final = 1024 * 1024  # bytes, as in site.conf
_ENTRY: Final = 10  # bytes: packet identifier and the start of a digest


class Source(Protocol):
    """Where devices publish; `topics` are subscription filters that end in #."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def topics(self) -> tuple[str, ...]: ...


class Sink(Protocol):
    """What ingest needs of the outbox."""

    async def append_readings(
        self, readings: Sequence[Reading], *, cursor: tuple[str, bytes] | None = None
    ) -> None: ...
    async def append_records(self, stream: str, records: Sequence[Record]) -> None: ...
    def cursor(self, name: str) -> bytes: ...


class Tally(msgspec.Struct, array_like=True):
    """How many messages were rejected for one reason, and the first of them."""

    count: int
    topic: str
    message: str


class Memory(msgspec.Struct, array_like=True):
    """What is committed beside the readings: the last messages taken, and rejections not reported yet."""

    window: bytes = b""
    rejected: dict[str, Tally] = {}


async def run_devices(
    dial: Dial,
    source: Source,
    outbox: Sink,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Take device messages until cancelled; `note` is told why none are taken ("": they are). Raises InputError for
    topics that name no device."""
    intake = Intake(source.topics, outbox, clock, note)
    options = Options(
        client_id=CLIENT_ID, host=source.host, port=source.port, receive_maximum=BATCH, max_packet=MAX_PACKET
    )
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run_reports)
        await run_link(dial, lambda: options, intake.run, clock, on_state=on_state)


class Intake:
    """INVARIANTS: `_window` and `_rejected` say the same as the cursor in the outbox, or more, while `_lock` is held."""

    def __init__(
        self, topics: tuple[str, ...], outbox: Sink, clock: Clock, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._topics = topics
        self._heads = prefixes(topics)
        self._outbox = outbox
        self._clock = clock
        self._note = note
        self._lock = anyio.Lock()
        self._unreported = anyio.Event()
        stored = outbox.cursor(CURSOR)
        memory = msgspec.msgpack.decode(stored, type=Memory) if stored else Memory()
        self._window = dict.fromkeys(
            memory.window[at : at + _ENTRY] for at in range(0, len(memory.window), _ENTRY)
        )  # an ordered set
        self._rejected = memory.rejected
        if self._rejected:
            self._unreported.set()

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Take everything a connection delivers; ends by LinkLost."""
        if not connected.session_present:
            self._window.clear()  # a new session counts its packets from 1
        # Retained values are asked for once, not again as new readings at every reconnect.
        await connection.subscribe([Subscription(topic, retained=1) for topic in self._topics])
        settled()
        unconfirmed = len(self._window)  # acknowledgements are lost with a connection
        while True:
            if unconfirmed + BATCH > UNCONFIRMED:
                await connection.round_trip()
                unconfirmed = 0
            batch, lost = await self._gather(connection)
            await self._commit(batch)  # also when the connection is lost: its broker may have died with the message
            if lost is not None:
                raise lost
            for delivery, _ in batch:
                connection.acknowledge(delivery)
            unconfirmed += len(batch)

    async def _gather(self, connection: Connection) -> tuple[list[tuple[Delivery, int]], LinkLost | None]:
        """Return deliveries with the time each was received, and why there will be no more."""
        while self._is_known(first := await connection.receive()):
            connection.acknowledge(first)  # at once, so that even a link that never lives long gets on
        batch = [(first, self._now())]
        try:
            with anyio.move_on_after(WITHIN):
                while len(batch) < BATCH:
                    delivery = await connection.receive()
                    batch.append((delivery, self._now()))
        except LinkLost as lost:
            return batch, lost
        return batch, None

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)

    async def _commit(self, batch: Iterable[tuple[Delivery, int]]) -> None:
        async with self._lock:
            readings: list[Reading] = []
            for delivery, received in batch:
                if not self._is_known(delivery):
                    self._remember(delivery)
                    result = readings_of(delivery.topic, delivery.payload, received, heads=self._heads)
                    if isinstance(result, Rejection):
                        self._tally(delivery.topic, result)
                    else:
                        readings += result
            await self._append(readings)
        if self._rejected:
            self._unreported.set()

    def _is_known(self, delivery: Delivery) -> bool:
        return delivery.duplicate and _entry(delivery) in self._window

    def _remember(self, delivery: Delivery) -> None:
        if delivery.qos:
            self._window.pop(entry := _entry(delivery), None)
            self._window[entry] = None
            if len(self._window) > WINDOW:
                del self._window[next(iter(self._window))]

    def _tally(self, topic: str, rejection: Rejection) -> None:
        """Count a message that is no reading; it is acknowledged like any other. [inv: one-bad-message-never-blocks-a-queue]"""
        tally = self._rejected.get(rejection.reason)
        if tally is None:
            printable = topic[:200].encode("ascii", "backslashreplace").decode()
            message = rejection.message[:200].encode("ascii", "backslashreplace").decode()
            tally = self._rejected[rejection.reason] = Tally(0, printable, message)
        tally.count += 1

    async def _append(self, readings: list[Reading]) -> None:
        """Commit until it is done: while the disk is full nothing more is taken, and the broker holds what comes."""
        memory = msgspec.msgpack.encode(Memory(b"".join(self._window), self._rejected))
        while True:
            try:
                await self._outbox.append_readings(readings, cursor=(CURSOR, memory))
            except TransientError as error:
                self._note(f"{error.reason}: readings wait at the site's broker: {error.message}")
                await self._clock.sleep(error.after or RETRY)
            else:
                self._note("")
                return

    async def run_reports(self) -> None:
        """Report what was rejected, the first at once and then not more often than every `REPORT_EVERY`."""
        while True:
            await self._unreported.wait()
            async with self._lock:
                await self._report()
            await self._clock.sleep(REPORT_EVERY)

    async def _report(self) -> None:
        """Counts stay in the cursor until their record is durable, so a kill in between counts twice and never less.
        [inv: every-loss-is-counted]"""
        records = [
            Record("Rejected", self._now(), {"source": "devices", "reason": reason, **msgspec.structs.asdict(tally)})
            for reason, tally in self._rejected.items()
        ]
        try:
            await self._outbox.append_records("p2", records)
        except TransientError:
            return  # they stay counted, and the next report has them
        self._rejected = {}
        self._unreported = anyio.Event()
        await self._append([])


def _entry(delivery: Delivery) -> bytes:
    content = hashlib.sha256(delivery.topic.encode("utf-8", "replace") + b"\0" + delivery.payload).digest()
    return delivery.mid.to_bytes(2, "big") + content[: _ENTRY - 2]
