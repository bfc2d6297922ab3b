"""Ingest: what nodes send, into the store exactly once.

Rows, what is decided of their stream and the answer are one transaction; several batches share one. Delivered again,
out of order, after a kill between commit and acknowledgement: a sequence is stored once. [inv: commit-before-ack]
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime.clock import Clock, SystemClock
from holdfast_protocol.wire.batch import Batch, Group, Placed, open_batch, placed
from holdfast_protocol.wire.contents import Content, Readings, Records, Unreadable, contents
from holdfast_protocol.wire.messages import Record, StreamAck, StreamState
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName
from holdfast_protocol.wire.topics import Address

from holdfast_hub.store import ranges, readings, streams
from holdfast_hub.store.ranges import Forked, Stream
from holdfast_hub.store.streams import StreamStore

AT_ONCE: Final = 16  # messages in one transaction

KeysOf = Callable[[SiteName, NodeName], dict[str, bytes]]


class Taken(msgspec.Struct, frozen=True):
    """What became of one delivery. Exactly one of `rejected` (the reason, CamelCase) and `incarnation` is not empty.

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
    incarnation: str = ""
    rejected: str = ""


class _Opened(NamedTuple):
    batch: Batch
    segments: list[tuple[Placed, Content | None]]  # None: a tombstone


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
        self._series = readings.SeriesIndex()

    async def take(self, deliveries: Sequence[tuple[Address, bytes]]) -> list[Taken]:
        """Return one result a delivery, in order, once all are committed. Raises TransientError: take them again."""
        keys = {(at.site, at.node): self._keys_of(at.site, at.node) for at, _ in deliveries}
        taken: list[Taken] = []
        for start in range(0, len(deliveries), AT_ONCE):
            taken += await self._database.call(self._take, deliveries[start : start + AT_ONCE], keys)
        return _cumulative(taken)

    def _take(
        self, deliveries: Sequence[tuple[Address, bytes]], keys: Mapping[tuple[SiteName, NodeName], dict[str, bytes]]
    ) -> list[Taken]:
        opened = [self._open(at, data, keys[at.site, at.node]) for at, data in deliveries]
        now = int(self._clock.wall() * 1000)
        taken = []
        try:
            with self._database.transaction() as connection:
                for (at, data), message in zip(deliveries, opened, strict=True):
                    if isinstance(message, WireError):
                        taken.append(_rejected(connection, at, message.reason, message.message, data, now))
                    else:
                        taken.append(self._store_or_reject(connection, at, message, data, now))
        except BaseException:
            self._series.forget()
            raise
        return taken

    def _open(self, at: Address, data: bytes, keys: dict[str, bytes]) -> _Opened | WireError:
        try:
            batch = open_batch(data, keys)
        except WireError as error:
            return error
        if (batch.site, batch.node, batch.stream) != (at.site, at.node, at.stream):
            return WireError(f"on the topic of {at.site}/{at.node}/{at.stream}", reason="WrongTopic")
        if self._fleet is not None and batch.fleet != self._fleet:
            return WireError(f"of fleet {batch.fleet}", reason="WrongFleet")
        found = contents(segment for segment in batch.segments if isinstance(segment, Group))
        return _Opened(
            batch,
            [
                (each, next(found) if isinstance(each.segment, Group) else None)
                for each in placed(batch.first, batch.before, batch.segments)
            ],
        )

    def _store_or_reject(
        self, connection: sqlite3.Connection, at: Address, message: _Opened, data: bytes, now: int
    ) -> Taken:
        """Store one batch, or nothing of it. [inv: one-bad-message-never-blocks-a-queue]"""
        batch = message.batch
        connection.execute("SAVEPOINT message")
        try:
            stream = _stream(connection, batch, now)
            taken = self._store(connection, stream, message, now)
        except Forked:
            connection.execute("ROLLBACK TO message")
            self._series.forget()
            taken = _forked(connection, batch, message.segments, data, now)
        except sqlite3.IntegrityError as error:
            connection.execute("ROLLBACK TO message")
            self._series.forget()
            taken = _rejected(connection, at, "Conflict", str(error), data, now)
        connection.execute("RELEASE message")
        return taken

    def _store(self, connection: sqlite3.Connection, stream: Stream, message: _Opened, now: int) -> Taken:
        batch = message.batch
        known = ranges.chain_at(connection, stream, batch.first - 1)
        if known and batch.before and known != batch.before:
            raise Forked
        before = ranges.mark(connection, stream)
        rows: dict[int, list[readings.Row]] = {}
        for each, content in message.segments:
            if not isinstance(each.segment, Group):
                ranges.bury(connection, stream, each, each.segment, now)
            elif isinstance(content, Unreadable):
                _bury_unreadable(connection, stream, each, content, now)
            elif not ranges.holds(connection, stream, each):
                ranges.cover(connection, stream, each.first, each.last, each.before, each.after)
                _keep_segment(connection, stream, each, each.segment, now)
                if isinstance(content, Records):
                    streams.keep_records(connection, stream, each.first, content.records)
                elif isinstance(content, Readings):
                    self._collect(connection, stream, each.first, content, rows)
        for part in rows.values():
            readings.insert(connection, part)
        upto = ranges.mark(connection, stream)
        records = streams.publish(connection, stream, before, upto) if upto > before else []
        streams.save(connection, stream)
        return Taken(
            site=batch.site,
            node=batch.node,
            stream=batch.stream,
            ack=ranges.acknowledgement(connection, stream),
            records=tuple(records),
            readings=sum(map(len, rows.values())),
            historical=batch.historical,
            incarnation=batch.incarnation,
        )

    def _collect(
        self,
        connection: sqlite3.Connection,
        stream: Stream,
        first: int,
        content: Readings,
        rows: dict[int, list[readings.Row]],
    ) -> None:
        """Gather rows by series, so that neighbours in the store are written together."""
        for series in content.series:
            number = self._series.number(connection, stream.site, stream.node, series)
            rows.setdefault(number, []).extend(readings.rows_of(number, stream.id, first, series))
            first += len(series.times)

    async def greet(self, site: SiteName, node: NodeName, states: Mapping[str, StreamState]) -> list[StreamAck]:
        """Return what is decided of the streams in a hello, and learn how far they go; silent on those not known."""
        return await self._database.call(self._greet, site, node, states)

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


def _stream(connection: sqlite3.Connection, batch: Batch, now: int) -> Stream:
    stream = streams.find(connection, batch.site, batch.node, batch.stream, batch.incarnation)
    if stream is None:
        stream = streams.begin(
            connection, batch.site, batch.node, batch.stream, batch.incarnation, batch.origin, now
        )
    elif stream.origin != batch.origin:
        raise Forked
    stream.high = max(stream.high, batch.high)
    return stream


def _keep_segment(connection: sqlite3.Connection, stream: Stream, each: Placed, group: Group, now: int) -> None:
    stamp = group.stamp
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream.id,
            each.first,
            each.last,
            each.after,
            group.kind,
            stamp.boot_id,
            stamp.boottime,
            stamp.wall,
            stamp.quality,
            now,
        ),
    )
    stream.stored += group.count
