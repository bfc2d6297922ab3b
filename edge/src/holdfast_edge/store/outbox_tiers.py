"""Small groups become larger ones while nobody has seen them, so that three days at one reading a second are some hundred
groups to send or to drop and not a quarter of a million.

Groups are merged like the digits of a number: eight of a size make one of the next, so a row is written anew four
times at most. Only the end of a stream can be merged, for the chain goes through every group to the end; sequence numbers
that were never told to anybody may go to other rows of the same groups.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_edge.store import outbox_rows as rows
from holdfast_edge.store.outbox_state import Stream
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.wire import readings, records
from holdfast_protocol.wire.batch import Group, Stamp, link
from holdfast_protocol.wire.contents import Readings, Records, contents
from holdfast_protocol.wire.readings import MAX_RAW, MAX_ROWS, Encoded

FANOUT: Final = 8
LOOKED_AT: Final = 5 * FANOUT  # groups at the end of a stream
MERGED: Final = frozenset({"p2", "p3"})


class Tail(msgspec.Struct, frozen=True):
    """A group at the end of a stream; those with one `sort` may be merged."""

    first: int
    count: int
    raw: int
    sort: tuple[object, ...]


def mergeable(tail: Sequence[Tail]) -> int:
    """Return how many groups at the end make one; `tail` has the newest first. 0: none."""
    found = total = raw = alike = tier = 0
    for number, each in enumerate(tail, 1):
        total, raw = total + each.count, raw + each.raw
        apart = number > 1 and each.first + each.count != tail[number - 2].first
        if each.sort != tail[0].sort or apart or total > MAX_ROWS or raw > MAX_RAW // 2:
            break
        size = (each.count.bit_length() - 1) // 3  # digits in base 8
        alike = alike + 1 if size == tier else 1 if size > tier else alike
        tier = max(size, tier)
        if alike >= FANOUT:
            found = number
    return found


def merge(connection: sqlite3.Connection, stream: Stream) -> None:
    """Merge groups at the end of a stream, when enough of them are small and were not sent."""
    if stream.loose < FANOUT or stream.stream not in MERGED:
        return
    stream.loose = 0
    sent = max((last for _, last in stream.sent), default=0)
    tail = [
        Tail(first, count, raw, sort)
        for first, count, raw, *sort in connection.execute(
            "SELECT first, count, raw, kind, boot_id, quality, expires FROM groups"
            " WHERE stream = ? AND first > ? AND thin = 0 ORDER BY first DESC LIMIT ?",
            (stream.stream, sent, LOOKED_AT),
        ).fetchall()
    ]
    number = mergeable(tail)
    if number and tail[0].first + tail[0].count - 1 == stream.high:
        _merge(connection, stream, tail[number - 1].first)


def _merge(connection: sqlite3.Connection, stream: Stream, first: int) -> None:
    found = connection.execute(
        "SELECT first, count, kind, before, chain, size, expires, boot_id, boottime, wall, quality, blob FROM groups"
        " WHERE stream = ? AND first >= ? ORDER BY first",
        (stream.stream, first),
    ).fetchall()
    if any(link(row[3], row[0], row[1], row[11]) != row[4] for row in found):
        return  # damaged on the disk: found and counted when it is read
    newest = found[-1]
    stamp, expires, kind = Stamp(*newest[7:11]), newest[6], newest[2]
    encoded = _encoded([Group(row[1], kind, stamp, row[11]) for row in found])
    if encoded is None or sum(each.count for each in encoded) != stream.high - first + 1:
        return
    connection.execute("DELETE FROM groups WHERE stream = ? AND first >= ?", (stream.stream, first))
    stream.rows -= sum(row[1] for row in found)
    stream.bytes -= sum(row[5] + rows.OVERHEAD for row in found)
    stream.high, stream.tip, taken = first - 1, found[0][3], stream.taken
    oldest = stream.oldest
    for each in encoded:
        rows.insert(connection, stream, each, kind, stamp, expires=expires)
    stream.taken, stream.loose = taken, 0
    stream.oldest = oldest or stamp.wall


def _encoded(groups: list[Group]) -> list[Encoded] | None:
    """Return the rows of several groups as few; None when one cannot be read."""
    found = list(contents(groups))
    try:
        if all(isinstance(each, Readings) for each in found):
            return readings.join([each.series for each in found if isinstance(each, Readings)])
        if all(isinstance(each, Records) for each in found):
            return records.encode([record for each in found if isinstance(each, Records) for record in each.records])
    except MisuseError:
        return None
    return None
