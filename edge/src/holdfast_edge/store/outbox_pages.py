"""Reading the outbox: consecutive segments of a stream, as many as fit a batch."""

import sqlite3
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Final

from holdfast_edge.store.outbox_state import Page, Stream
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.batch import (
    MAX_BATCH_RAW,
    MAX_BATCH_ROWS,
    MAX_SEGMENTS,
    Group,
    Segment,
    Stamp,
    Tombstone,
    link,
)

PAGE_BYTES: Final = 128 * 1024  # of blobs in a batch, unless one blob is larger
_Found = tuple[int, int, bytes, bytes, Segment]  # first, bytes before compression, chain before and after


def read(connection: sqlite3.Connection, stream: Stream, first: int, upto: int, size: int = 0) -> Page | None:
    """Return the segments from the one that holds `first` on, none after the first beyond `upto`; None when none is held.

    `size` is in bytes of blobs, at most and if not 0 PAGE_BYTES. What was released and is asked for again is a
    tombstone. Raises PermanentError, with the first sequence it is about as its resource: `BrokenGroup` when a blob is not
    what was stored, `Hole` when there is nothing where something was.
    """
    found: list[_Found] = []
    blobs = raw = rows = 0
    room = min(size or PAGE_BYTES, PAGE_BYTES)
    start = max(first, stream.origin + 1)
    for each in _segments(connection, stream, start, upto):
        at, cost, before, after, segment = each
        if isinstance(segment, Group):
            rows, blobs, raw = rows + segment.count, blobs + len(segment.blob), raw + cost
        full = rows > MAX_BATCH_ROWS or blobs > room or raw > MAX_BATCH_RAW or len(found) == MAX_SEGMENTS
        if found and (full or at + segment.count - 1 > upto):
            break
        if at > (_last(found[-1]) + 1 if found else start):
            raise _hole(stream, _last(found[-1]) + 1 if found else start)
        if isinstance(segment, Group) and link(before, at, segment.count, segment.blob) != after:
            raise PermanentError(f"group {at} is not as it was stored", reason="BrokenGroup", resource=str(at))
        found.append(each)
    if not found and start <= min(upto, stream.high):
        raise _hole(stream, start)
    if not found:
        return None
    return Page(
        incarnation=stream.incarnation,
        origin=stream.origin,
        high=stream.high,
        first=found[0][0],
        last=_last(found[-1]),
        before=found[0][2],
        after=found[-1][3],
        segments=[each[4] for each in found],
    )


def _hole(stream: Stream, first: int) -> PermanentError:
    return PermanentError(f"stream {stream.stream} has a hole at {first}", reason="Hole", resource=str(first))


def _last(found: _Found) -> int:
    return found[0] + found[4].count - 1


def _segments(connection: sqlite3.Connection, stream: Stream, first: int, upto: int) -> Iterator[_Found]:
    if first <= stream.acked:
        row = connection.execute(
            "SELECT first, before FROM tombstones WHERE stream = ?1 AND first <= ?2 AND last > ?2",
            (stream.stream, stream.acked),
        ).fetchone()
        after, chain = row or (stream.acked + 1, stream.anchor)  # a tombstone may have grown over the released
        if first < after:
            yield first, 0, b"", chain, Tombstone(after - first, 0, "Released", chain)
            first = after
    yield from merge(
        _groups(connection, stream.stream, first, upto),
        _tombstones(connection, stream.stream, first, upto),
        key=itemgetter(0),
    )


def _groups(connection: sqlite3.Connection, stream: str, first: int, upto: int) -> Iterator[_Found]:
    for row in connection.execute(
        "SELECT first, raw, before, chain, count, kind, boot_id, boottime, wall, quality, blob FROM groups"
        " WHERE stream = ?1 AND first <= ?3 AND first >= coalesce("
        "(SELECT max(first) FROM groups WHERE stream = ?1 AND first <= ?2), ?2) AND first + count > ?2 ORDER BY first",
        (stream, first, upto),
    ):
        yield *row[:4], Group(row[4], row[5], Stamp(*row[6:10]), row[10])


def _tombstones(connection: sqlite3.Connection, stream: str, first: int, upto: int) -> Iterator[_Found]:
    for row in connection.execute(
        "SELECT first, before, chain, last, size, reason FROM tombstones"
        " WHERE stream = ? AND last >= ? AND first <= ? ORDER BY first",
        (stream, first, upto),
    ):
        yield row[0], 0, row[1], row[2], Tombstone(row[3] - row[0] + 1, row[4], row[5], row[2])
