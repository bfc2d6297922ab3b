"""What of a stream may have been sent. The rest is this node's alone, and may be written anew: larger groups, fewer rows.

Ranges are durable before what they cover leaves. So that a node that is connected need not write twice for every
reading, what is sent at the end of a stream covers some that is yet to come; `settle` gives that back.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

from holdfast_edge.store.outbox_state import Stream

AHEAD: Final = 100_000  # sequences covered beyond the end


def overlaps(stream: Stream, first: int, last: int) -> bool:
    return any(low <= last and high >= first for low, high in stream.sent)


def covers(stream: Stream, first: int, last: int) -> bool:
    return any(low <= first and last <= high for low, high in stream.sent)


def cover(stream: Stream, first: int, last: int) -> None:
    """Note first..last as sent, and what comes next when that is the end."""
    if last >= stream.high:
        last = stream.high + AHEAD
    stream.sent = _joined([*stream.sent, (first, last)], stream.acked + 1)


def settle(stream: Stream) -> None:
    """Nothing is under way: what is yet to come has not been sent."""
    stream.sent = tuple((low, min(high, stream.high)) for low, high in stream.sent if low <= stream.high)


def save(connection: sqlite3.Connection, stream: Stream) -> None:
    connection.execute("DELETE FROM sent WHERE stream = ?", (stream.stream,))
    connection.executemany("INSERT INTO sent VALUES (?, ?, ?)", [(stream.stream, *each) for each in stream.sent])


def load(connection: sqlite3.Connection, stream: Stream) -> None:
    """Read what was sent by a process that is no more."""
    rows = connection.execute("SELECT first, last FROM sent WHERE stream = ? ORDER BY first", (stream.stream,))
    stream.sent = _joined(rows.fetchall(), stream.acked + 1)
    settle(stream)


def _joined(ranges: Iterable[tuple[int, int]], start: int) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if high < start:
            continue
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
