"""Storing one batch: all of it, or nothing and the reason. Every function runs inside its caller's transaction."""

import sqlite3
from typing import NamedTuple

import msgspec

from holdfast_hub.core.stretches import stretches
from holdfast_hub.store import ranges, readings, streams
from holdfast_hub.store.ranges import Forked, Stream
from holdfast_protocol.wire.batch import Batch, Group, Placed
from holdfast_protocol.wire.contents import Content, Readings, Records, Unreadable
from holdfast_protocol.wire.messages import Record, StreamAck

UNREADABLE = "Unreadable"


class Opened(NamedTuple):
    """A verified batch and what its segments hold; None for a tombstone."""

    batch: Batch
    segments: list[tuple[Placed, Content | None]]


class Stored(msgspec.Struct, frozen=True):
    """`records` may now be read; `refused` says why nothing was stored, "" when it was."""

    ack: StreamAck | None  # None: nothing to tell the node
    records: tuple[Record, ...] = ()
    readings: int = 0
    refused: str = ""


class BatchWriter:
    """Remembers the numbers of series between batches; `forget` after a transaction that failed."""

    def __init__(self) -> None:
        self._series = readings.SeriesIndex()

    def forget(self) -> None:
        self._series.forget()

    def write(self, connection: sqlite3.Connection, message: Opened, data: bytes, now: int) -> Stored:
        """Store a batch or refuse it; `data` is kept when refused. [inv: one-bad-message-never-blocks-a-queue]"""
        batch = message.batch
        connection.execute("SAVEPOINT message")
        try:
            stored = self._store(connection, message, now)
        except (Forked, sqlite3.IntegrityError) as error:
            connection.execute("ROLLBACK TO message")
            self.forget()
            reason = "Fork" if isinstance(error, Forked) else "Conflict"
            text = f"{batch.first} to {batch.last} of {batch.incarnation}: {error}"
            streams.reject(connection, batch.site, batch.node, batch.stream, reason, text, data, now)
            stored = Stored(_fork_answer(connection, message) if reason == "Fork" else None, refused=reason)
        connection.execute("RELEASE message")
        return stored

    def _store(self, connection: sqlite3.Connection, message: Opened, now: int) -> Stored:
        batch = message.batch
        stream = _stream(connection, batch, now)
        known = ranges.chain_at(connection, stream, batch.first - 1)
        if known and batch.before and known != batch.before:
            raise Forked
        if stream.state == "forked" and ranges.undecided(connection, stream, batch.first, batch.last):
            raise Forked
        mark = ranges.mark(connection, stream)
        rows: dict[int, list[readings.Row]] = {}
        for each, content in message.segments:
            if not isinstance(each.segment, Group):
                ranges.bury(connection, stream, each, each.segment.size, each.segment.reason, now)
            elif not ranges.holds(connection, stream, each):
                self._keep(connection, stream, each, each.segment, content, rows, now)
        for part in rows.values():
            readings.insert(connection, part)
        upto = ranges.mark(connection, stream)
        records = streams.publish(connection, stream, mark, upto) if upto > mark else []
        streams.save(connection, stream)
        return Stored(ranges.acknowledgement(connection, stream), tuple(records), sum(map(len, rows.values())))

    def _keep(
        self,
        connection: sqlite3.Connection,
        stream: Stream,
        each: Placed,
        group: Group,
        content: Content | None,
        rows: dict[int, list[readings.Row]],
        now: int,
    ) -> None:
        """Store a new group; readings are gathered by series, so that neighbours in the store are written together."""
        if isinstance(content, Unreadable):
            text = f"{each.first} to {each.last} of {stream.incarnation}: {content.message}"
            streams.reject(connection, stream.site, stream.node, stream.name, content.reason, text, group.blob, now)
            ranges.bury(connection, stream, each, len(group.blob), UNREADABLE, now)
            return
        ranges.cover(connection, stream, each.first, each.last, each.before, each.after)
        times = content.times if isinstance(content, Readings) else (0, 0)
        streams.keep_segment(connection, stream, each, group, times, now)
        if isinstance(content, Records):
            streams.keep_records(connection, stream, each.first, content.records)
        elif isinstance(content, Readings):
            if times[1] - times[0] > streams.WIDE:
                found = stretches(time for series in content.series for time in series.times)
                streams.keep_stretches(connection, stream, each.first, found)
            first = each.first
            for series in content.series:
                number = self._series.number(connection, stream.site, stream.node, series)
                rows.setdefault(number, []).extend(readings.rows_of(number, stream.id, first, series))
                first += len(series.times)


def _stream(connection: sqlite3.Connection, batch: Batch, now: int) -> Stream:
    stream = streams.find(connection, batch.site, batch.node, batch.stream, batch.incarnation)
    if stream is None:
        stream = streams.begin(connection, batch.site, batch.node, batch.stream, batch.incarnation, batch.origin, now)
    elif stream.origin != batch.origin:
        raise Forked
    stream.high = max(stream.high, batch.high)
    return stream


def _fork_answer(connection: sqlite3.Connection, message: Opened) -> StreamAck | None:
    """End the stream and return what its node is told; None when nothing of the stream is known here."""
    batch = message.batch
    stream = streams.find(connection, batch.site, batch.node, batch.stream, batch.incarnation)
    if stream is None:
        return None
    agreed = stream.origin
    if batch.origin == stream.origin and ranges.chain_at(connection, stream, batch.first - 1) == batch.before:
        agreed = batch.first - 1
        for each, _ in message.segments:
            if ranges.chain_at(connection, stream, each.last) != each.after:
                break
            agreed = each.last
    mark = ranges.mark(connection, stream)
    streams.end_forked(connection, stream, mark)
    return ranges.fork_answer(connection, stream, min(agreed, mark))
