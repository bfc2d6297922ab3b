"""Which sequences of a stream are decided, and whether new ones belong to the same history.

Every function runs inside its caller's transaction.
"""

import sqlite3
from typing import Final

import msgspec

from holdfast_protocol.wire.batch import Placed
from holdfast_protocol.wire.messages import StreamAck

CREDIT: Final = 8  # batches of a stream a node may have unacknowledged
MISSING: Final = 64  # ranges named in one acknowledgement


class Forked(Exception):
    """Two histories under one identity: a clone, or a disk rolled back."""


class Stream(msgspec.Struct):
    """A row of `streams` as the transaction changes it."""

    id: int
    site: str
    node: str
    name: str
    incarnation: str
    origin: int
    high: int
    stored: int
    tombstoned: int
    state: str = "open"


def chain_at(connection: sqlite3.Connection, stream: Stream, sequence: int) -> bytes | None:
    """Return the chain after `sequence`; None where nothing known ends there."""
    row = connection.execute(
        "SELECT chain FROM ("
        " SELECT * FROM (SELECT last, chain FROM segments WHERE stream = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1)"
        " UNION ALL"
        " SELECT * FROM (SELECT last, chain FROM gaps WHERE stream = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1)"
        " UNION ALL SELECT ?2, before FROM ranges WHERE stream = ?1 AND first = ?2 + 1"
        ") WHERE last = ?2 AND chain IS NOT NULL LIMIT 1",
        (stream.id, sequence),
    ).fetchone()
    return row[0] if row else None


def holds(connection: sqlite3.Connection, stream: Stream, each: Placed) -> bool:
    """Return whether a group is decided already. Raises Forked when something else is in its place."""
    overlap = connection.execute(
        "SELECT 1 FROM (SELECT last FROM ranges WHERE stream = ? AND first <= ? ORDER BY first DESC LIMIT 1) WHERE last >= ?",
        (stream.id, each.last, each.first),
    ).fetchone()
    if overlap is None:
        return False
    same = connection.execute(
        "SELECT chain FROM segments WHERE stream = ? AND first = ? AND last = ?", (stream.id, each.first, each.last)
    ).fetchone()
    if same is not None:
        if same[0] != each.after:
            raise Forked
        return True
    in_gap = connection.execute(
        "SELECT 1 FROM (SELECT last FROM gaps WHERE stream = ? AND first <= ? ORDER BY first DESC LIMIT 1) WHERE last >= ?",
        (stream.id, each.first, each.last),
    ).fetchone()
    if in_gap is None:
        raise Forked
    return True


def cover(
    connection: sqlite3.Connection, stream: Stream, first: int, last: int, before: bytes | None, after: bytes | None
) -> None:
    """Note first..last, of which nothing was decided, as decided. Raises Forked when it does not fit its neighbours."""
    left = connection.execute(
        "SELECT first, before, after FROM (SELECT * FROM ranges WHERE stream = ? AND first < ? ORDER BY first DESC LIMIT 1)"
        " WHERE last = ?",
        (stream.id, first, first - 1),
    ).fetchone()
    right = connection.execute(
        "SELECT last, before, after FROM ranges WHERE stream = ? AND first = ?", (stream.id, last + 1)
    ).fetchone()
    if left:
        if before and left[2] and left[2] != before:
            raise Forked
        first, before = left[0], left[1]
    if right:
        if after and right[1] and right[1] != after:
            raise Forked
        connection.execute("DELETE FROM ranges WHERE stream = ? AND first = ?", (stream.id, last + 1))
        last, after = right[0], right[2]
    connection.execute(
        "INSERT OR REPLACE INTO ranges VALUES (?, ?, ?, ?, ?)", (stream.id, first, last, before or None, after or None)
    )


def bury(connection: sqlite3.Connection, stream: Stream, each: Placed, size: int, reason: str, now: int) -> None:
    """Note as gaps what of a segment is not decided yet; what is stored stays stored. [inv: every-loss-is-counted]"""
    known = chain_at(connection, stream, each.last)
    if known and known != each.after:
        raise Forked
    counted = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM gaps WHERE stream = ?1 AND first BETWEEN ?2 AND ?3 AND last <= ?3 AND reason = ?4",
        (stream.id, each.first, each.last, reason),
    ).fetchone()[0]
    size = max(size - counted, 0)  # a tombstone grows at the node: the rest of it is new
    for first, last in undecided(connection, stream, each.first, each.last):
        before = each.before if first == each.first else None
        after = each.after if last == each.last else None
        cover(connection, stream, first, last, before, after)
        connection.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)",
            (stream.id, first, last, size, reason, after, now),
        )
        stream.tombstoned += last - first + 1
        size = 0


def undecided(connection: sqlite3.Connection, stream: Stream, first: int, last: int) -> list[tuple[int, int]]:
    """Return the parts of first..last nothing is known of."""
    found = []
    for start, end in connection.execute(
        "SELECT first, last FROM ranges WHERE stream = ?1 AND last >= ?2 AND first <= ?3 AND first >="  # none overlap
        " coalesce((SELECT max(first) FROM ranges WHERE stream = ?1 AND first <= ?2), ?2) ORDER BY first",
        (stream.id, first, last),
    ).fetchall():
        if start > first:
            found.append((first, start - 1))
        first = end + 1
    if first <= last:
        found.append((first, last))
    return found


def mark(connection: sqlite3.Connection, stream: Stream) -> int:
    """Return the high-water mark: everything up to it is decided."""
    row = connection.execute(
        "SELECT last FROM ranges WHERE stream = ? AND first = ?", (stream.id, stream.origin + 1)
    ).fetchone()
    return int(row[0]) if row else stream.origin


def acknowledgement(connection: sqlite3.Connection, stream: Stream) -> StreamAck:
    """Return what is decided of a stream as its node is told."""
    rows = connection.execute(
        "SELECT first, last FROM ranges WHERE stream = ? ORDER BY first LIMIT ?", (stream.id, MISSING + 1)
    ).fetchall()
    upto = high = mark(connection, stream)
    missing = []
    for first, last in rows:
        if first > high + 1:
            missing.append((high + 1, first - 1))
        high = max(high, last)
    return StreamAck(
        stream=stream.name,
        incarnation=stream.incarnation,
        upto=upto,
        credit=CREDIT,
        missing=tuple(missing),
        high=high,
        chain=(chain_at(connection, stream, upto) or b"").hex(),
    )


def fork_answer(connection: sqlite3.Connection, stream: Stream, agreed: int) -> StreamAck:
    """Return what a node with another history is told: `agreed` is the last sequence known to be in both."""
    chain = chain_at(connection, stream, agreed) or b""
    return StreamAck(stream.name, stream.incarnation, agreed, CREDIT, fork=True, high=agreed, chain=chain.hex())
