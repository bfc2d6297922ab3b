"""Ingest: what nodes send, into the store exactly once.

Rows, what is decided of their stream and the answer are one transaction, and several batches share one. Delivered again,
out of order, after a kill between commit and acknowledgement: a sequence is stored once. [inv: commit-before-ack]
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from holdfast_hub.link.credit import Credit
from holdfast_hub.store import ranges, streams
from holdfast_hub.store.batches import BatchWriter, Opened
from holdfast_hub.store.streams import StreamStore
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime.clock import Clock, SystemClock
from holdfast_protocol.wire.batch import Group, open_batch, placed
from holdfast_protocol.wire.contents import contents
from holdfast_protocol.wire.messages import Record, StreamAck, StreamState
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName
from holdfast_protocol.wire.topics import Address

AT_ONCE: Final = 16  # messages in one transaction, and no more bytes than:
BYTES_AT_ONCE: Final = 256 * 1024  # unless one message is larger; decoded they are a hundred times that
KEPT: Final = 1024  # bytes of a message nobody vouches for

KeysOf = Callable[[SiteName, NodeName], dict[str, bytes]]


class Taken(msgspec.Struct, frozen=True):
    """What became of one delivery. `rejected` is the reason (CamelCase) nothing of it was stored, "" when it was.

    `ack` is cumulative and stands at the last delivery of each stream in a call; None at the others. `records` are
    those that may now be read, in order, with any that had waited for this one.
    """

    site: SiteName
    node: NodeName
    stream: str
    ack: StreamAck | None = None
    records: tuple[Record, ...] = ()
    readings: int = 0  # new ones
    historical: bool = False
    incarnation: str = ""  # "" when the message could not be read
    rejected: str = ""


class Ingest:
    """Writes for `StreamStore`. `keys_of` returns a node's public keys by name, none for one nobody knows."""

    def __init__(
        self, store: StreamStore, keys_of: KeysOf, *, fleet: FleetName | None = None, clock: Clock | None = None
    ) -> None:
        """`fleet` None: not compared; a node's keys then say alone where it belongs."""
        self._database = store.database
        self._keys_of = keys_of
        self._fleet = fleet
        self._clock = clock or SystemClock()
        self._writer = BatchWriter()
        self._credit = Credit()

    async def take(self, deliveries: Sequence[tuple[Address, bytes]]) -> list[Taken]:
        """Return one result a delivery, in order, once all are committed. Raises TransientError: take them again."""
        keys = {(at.site, at.node): self._keys_of(at.site, at.node) for at, _ in deliveries}
        taken: list[Taken] = []
        for part in _parts(deliveries):
            taken += await self._database.call(self._take, part, keys)
        now = self._clock.boottime()
        for each in taken:
            if each.ack is not None:  # a stranger's claims do not count
                self._credit.hear(each.site, each.node, each.stream, now)
        granted = self._credit.each(now)
        return [_granted(each, granted) for each in _cumulative(taken)]

    def _take(
        self, deliveries: Sequence[tuple[Address, bytes]], keys: Mapping[tuple[SiteName, NodeName], dict[str, bytes]]
    ) -> list[Taken]:
        opened = [self._open(at, data, keys[at.site, at.node]) for at, data in deliveries]
        now = int(self._clock.wall() * 1000)
        try:
            with self._database.transaction() as connection:
                return [
                    self._write(connection, at, message, data, now)
                    for (at, data), message in zip(deliveries, opened, strict=True)
                ]
        except BaseException:
            self._writer.forget()
            raise

    def _open(self, at: Address, data: bytes, keys: dict[str, bytes]) -> Opened | WireError:
        try:
            batch = open_batch(data, keys)
        except WireError as error:
            return error
        if (batch.site, batch.node, batch.stream) != (at.site, at.node, at.stream):
            return WireError(f"on the topic of {at.site}/{at.node}/{at.stream}", reason="WrongTopic")
        if self._fleet is not None and batch.fleet != self._fleet:
            return WireError(f"of fleet {batch.fleet}", reason="WrongFleet")
        found = contents(segment for segment in batch.segments if isinstance(segment, Group))
        where = placed(batch.first, batch.before, batch.segments)
        return Opened(batch, [(each, next(found) if isinstance(each.segment, Group) else None) for each in where])

    def _write(
        self, connection: sqlite3.Connection, at: Address, message: Opened | WireError, data: bytes, now: int
    ) -> Taken:
        if isinstance(message, WireError):
            reason = message.reason
            streams.reject(connection, at.site, at.node, at.stream, reason, message.message, data, now, kept=KEPT)
            return Taken(at.site, at.node, at.stream, rejected=reason)
        stored = self._writer.write(connection, message, data, now)
        return Taken(
            site=at.site,
            node=at.node,
            stream=at.stream,
            ack=stored.ack,
            records=stored.records,
            readings=stored.readings,
            historical=message.batch.historical,
            incarnation=message.batch.incarnation,
            rejected=stored.refused,
        )

    async def greet(self, site: SiteName, node: NodeName, states: Mapping[str, StreamState]) -> list[StreamAck]:
        """Return what is decided of the streams in a hello, and learn how far they go; silent on those not known."""
        acks = await self._database.call(self._greet, site, node, states)
        granted = self._credit.each(self._clock.boottime())
        return [msgspec.structs.replace(ack, credit=granted) for ack in acks]

    def _greet(self, site: SiteName, node: NodeName, states: Mapping[str, StreamState]) -> list[StreamAck]:
        acks = []
        with self._database.transaction() as connection:
            for name, state in states.items():
                stream = streams.find(connection, site, node, name, state.incarnation)
                if stream is not None:
                    stream.high = max(stream.high, state.high)
                    streams.save(connection, stream)
                    acks.append(ranges.acknowledgement(connection, stream))
        return acks


def _parts(deliveries: Sequence[tuple[Address, bytes]]) -> Iterator[list[tuple[Address, bytes]]]:
    """Yield what goes into one transaction each, in order."""
    part: list[tuple[Address, bytes]] = []
    size = 0
    for delivery in deliveries:
        if part and (len(part) == AT_ONCE or size + len(delivery[1]) > BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(delivery)
        size += len(delivery[1])
    if part:
        yield part


def _granted(taken: Taken, credit: int) -> Taken:
    if taken.ack is None:
        return taken
    return msgspec.structs.replace(taken, ack=msgspec.structs.replace(taken.ack, credit=credit))


def _cumulative(taken: list[Taken]) -> list[Taken]:
    """Leave the acknowledgement at the last delivery of each stream; a fork is always said."""
    seen: set[tuple[str, str, str, str]] = set()
    answers = []
    for each in reversed(taken):
        key = (each.site, each.node, each.stream, each.incarnation)
        if each.ack is not None and key in seen and not each.ack.fork:
            each = msgspec.structs.replace(each, ack=None)
        if each.ack is not None:
            seen.add(key)
        answers.append(each)
    return answers[::-1]
