"""The outbox's SQL. Every function runs inside its caller's transaction and changes the `Stream` it is given with it."""

import secrets
import sqlite3
from typing import Final

from holdfast_edge.store import outbox_sent as sent
from holdfast_edge.store.outbox_state import Loss, Odometer, Stream
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.batch import GENESIS, Stamp, link
from holdfast_protocol.wire.names import Incarnation
from holdfast_protocol.wire.readings import Encoded
from holdfast_protocol.wire.topics import STREAM_CLASSES

OVERHEAD: Final = 256  # bytes a group takes beside its blob
RELEASED_AT_ONCE: Final = 500  # groups deleted in one transaction, so that p0 never waits long


def new_incarnation() -> Incarnation:
    return Incarnation(secrets.token_hex(16))


def create(connection: sqlite3.Connection) -> None:
    """Make the streams of a new database."""
    for stream in STREAM_CLASSES:
        row = (stream, new_incarnation(), 0, 0, GENESIS, 0, GENESIS, 0)
        connection.execute("INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def load(connection: sqlite3.Connection) -> dict[str, Stream]:
    """Return every stream with what it holds."""
    found = {}
    for row in connection.execute("SELECT * FROM streams").fetchall():
        stream = Stream(*row)
        stream.rows, stream.bytes = connection.execute(
            "SELECT coalesce(sum(count), 0), coalesce(sum(size), 0) + count(*) * ? FROM groups WHERE stream = ?",
            (OVERHEAD, stream.stream),
        ).fetchone()
        stream.coarse, stream.coarse_bytes = _coarse(connection, stream)
        _find_oldest(connection, stream)
        sent.load(connection, stream)
        found[stream.stream] = stream
    return found


def _coarse(connection: sqlite3.Connection, stream: Stream) -> tuple[int, int]:
    """Return up to where groups were downsampled, and the bytes held there."""
    (upto,) = connection.execute(
        "SELECT coalesce(max(first + count - 1), 0) FROM groups WHERE stream = ? AND thin = 1", (stream.stream,)
    ).fetchone()
    (held,) = connection.execute(
        "SELECT coalesce(sum(size), 0) + count(*) * ? FROM groups WHERE stream = ? AND first <= ?",
        (OVERHEAD, stream.stream, upto),
    ).fetchone()
    return upto, held


def losses(connection: sqlite3.Connection) -> dict[str, dict[str, Loss]]:
    """Return everything ever dropped, by class and reason."""
    found: dict[str, dict[str, Loss]] = {}
    for stream, reason, count, size in connection.execute("SELECT stream, reason, rows, bytes FROM losses").fetchall():
        found.setdefault(stream, {})[reason] = Loss(count, size)
    return found


def odometer(connection: sqlite3.Connection) -> Odometer:
    return Odometer(*connection.execute("SELECT total, boot_id, boottime, day, spent FROM odometer").fetchone())


def save_odometer(connection: sqlite3.Connection, odometer: Odometer) -> None:
    connection.execute(
        "UPDATE odometer SET total = ?, boot_id = ?, boottime = ?, day = ?, spent = ?",
        (odometer.total, odometer.boot_id, odometer.boottime, odometer.day, odometer.spent),
    )


def save(connection: sqlite3.Connection, stream: Stream) -> None:
    connection.execute(
        "UPDATE streams SET incarnation = ?, origin = ?, high = ?, tip = ?, acked = ?, anchor = ?, lost = ?"
        " WHERE stream = ?",
        (
            stream.incarnation,
            stream.origin,
            stream.high,
            stream.tip,
            stream.acked,
            stream.anchor,
            stream.lost,
            stream.stream,
        ),
    )


def insert(
    connection: sqlite3.Connection,
    stream: Stream,
    encoded: Encoded,
    kind: str,
    stamp: Stamp,
    key: str = "",
    expires: int = 0,
) -> None:
    """Number a group, link it to the chain and store it. A row of p1 replaces the one with its `key`."""
    if key:
        for (first,) in connection.execute("SELECT first FROM groups WHERE key = ?", (key,)).fetchall():
            drop(connection, stream, first, "Compacted")
    first = stream.high + 1
    chain = link(stream.tip, first, encoded.count, encoded.blob)
    size = len(encoded.blob)
    connection.execute(
        "INSERT INTO groups (stream, first, count, kind, key, raw, size, expires, thin, before, chain,"
        " boot_id, boottime, wall, quality, blob) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream.stream,
            first,
            encoded.count,
            kind,
            key,
            encoded.raw,
            size,
            expires,
            stream.tip,
            chain,
            stamp.boot_id,
            stamp.boottime,
            stamp.wall,
            stamp.quality,
            encoded.blob,
        ),
    )
    stream.high, stream.tip = first + encoded.count - 1, chain
    stream.oldest = stream.oldest if stream.rows else stamp.wall
    stream.rows += encoded.count
    stream.bytes += size + OVERHEAD
    stream.taken += size + OVERHEAD
    stream.loose += 1


def evict(connection: sqlite3.Connection, stream: Stream, quota: int) -> None:
    """Drop the oldest groups of p2 until `quota` bytes hold the rest; p0 and p1 refuse what does not fit."""
    if stream.bytes > quota and stream.stream in ("p0", "p1"):
        raise TransientError(
            f"stream {stream.stream} is full: {stream.bytes} of {quota} bytes",
            reason="QuotaExceeded",
            after=5,
            hint="the hub has not acknowledged for long, or the quota is too small",
        )
    while stream.bytes > quota and drop_oldest(connection, stream, "QuotaExceeded"):
        pass


def drop_oldest(connection: sqlite3.Connection, stream: Stream, reason: str) -> bool:
    """Drop one group; return False when there is none."""
    row = connection.execute(
        "SELECT first FROM groups WHERE stream = ? ORDER BY first LIMIT 1", (stream.stream,)
    ).fetchone()
    if row is None:
        return False
    drop(connection, stream, row[0], reason)
    return True


def drop(connection: sqlite3.Connection, stream: Stream, first: int, reason: str) -> None:
    """Put a tombstone where a group was. [inv: every-loss-is-counted]

    It takes in what was left out of the group before, so that a node that drops for ever keeps one tombstone.
    """
    name = stream.stream
    row = connection.execute(
        "DELETE FROM groups WHERE stream = ? AND first = ? RETURNING count, size, before, chain", (name, first)
    ).fetchone()
    count, size, before, chain = row
    last = first + count - 1
    stream.rows -= count
    stream.bytes -= size + OVERHEAD
    stream.coarse_bytes -= size + OVERHEAD if first <= stream.coarse else 0
    count_loss(connection, stream, reason, count, size)
    previous = connection.execute(
        "SELECT first, size, before FROM tombstones WHERE stream = ? AND first < ? AND last = ? AND reason = ?",
        (name, first, first - 1, reason),
    ).fetchone()
    following = connection.execute(
        "SELECT last, size, chain FROM tombstones WHERE stream = ? AND first = ? AND reason IN (?, 'Downsampled')",
        (name, last + 1, reason),
    ).fetchone()
    if following:
        connection.execute("DELETE FROM tombstones WHERE stream = ? AND first = ?", (name, last + 1))
        last, size, chain = following[0], size + following[1], following[2]
    if previous:
        first, size, before = previous[0], size + previous[1], previous[2]
    connection.execute(
        "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, first, last, size, reason, before, chain),
    )
    _find_oldest(connection, stream)


def fill(connection: sqlite3.Connection, stream: Stream, first: int) -> None:
    """Put a tombstone where the disk has nothing any more, from `first` to what comes next. [inv: every-loss-is-counted]"""
    row = connection.execute(
        "SELECT first, before FROM (SELECT first, before FROM groups WHERE stream = ?1 AND first > ?2"
        " UNION ALL SELECT first, before FROM tombstones WHERE stream = ?1 AND first > ?2) ORDER BY first LIMIT 1",
        (stream.stream, first),
    ).fetchone()
    last, chain = (row[0] - 1, row[1]) if row else (stream.high, stream.tip)
    before = chain_at(connection, stream, first - 1) or stream.anchor
    connection.execute(
        "INSERT INTO tombstones VALUES (?, ?, ?, 0, 'Damaged', ?, ?)", (stream.stream, first, last, before, chain)
    )
    count_loss(connection, stream, "Damaged", last - first + 1, 0)


def count_loss(connection: sqlite3.Connection, stream: Stream, reason: str, count: int, size: int) -> None:
    stream.lost += 0 if reason == "Compacted" else count
    stream.dropped += 1
    connection.execute(
        "INSERT INTO losses VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes",
        (stream.stream, reason, count, size),
    )


def expire(connection: sqlite3.Connection, stream: Stream, now: int, at_most: int) -> bool:
    """Drop groups whose time is over by the odometer; return whether there may be more."""
    found = connection.execute(
        "SELECT first FROM groups WHERE stream = ? AND expires <> 0 AND expires <= ? ORDER BY expires LIMIT ?",
        (stream.stream, now, at_most),
    ).fetchall()
    for (first,) in found:
        drop(connection, stream, first, "Expired")
    return len(found) == at_most


def _find_oldest(connection: sqlite3.Connection, stream: Stream) -> None:
    row = connection.execute(
        "SELECT wall FROM groups WHERE stream = ? ORDER BY first LIMIT 1", (stream.stream,)
    ).fetchone()
    stream.oldest = row[0] if row else 0


def chain_at(connection: sqlite3.Connection, stream: Stream, sequence: int) -> bytes | None:
    """Return the chain at the end of `sequence`; None where no segment held ends there."""
    if sequence == stream.acked:
        return stream.anchor
    row = connection.execute(
        "SELECT chain FROM (SELECT first + count - 1 AS last, chain FROM groups WHERE stream = ?1 AND first <= ?2"
        " ORDER BY first DESC LIMIT 1) WHERE last = ?2"
        " UNION ALL SELECT chain FROM (SELECT last, chain FROM tombstones WHERE stream = ?1 AND first <= ?2"
        " ORDER BY first DESC LIMIT 1) WHERE last = ?2",
        (stream.stream, sequence),
    ).fetchone()
    return row[0] if row else None


def release(connection: sqlite3.Connection, stream: Stream, upto: int, chain: bytes) -> bool:
    """Delete what the hub has, up to `upto` where the chain is `chain`; return whether there is more of it."""
    groups = connection.execute(
        "SELECT id, first, count, size, chain FROM groups WHERE stream = ? AND first <= ? ORDER BY first LIMIT ?",
        (stream.stream, upto, RELEASED_AT_ONCE),
    ).fetchall()
    more = len(groups) == RELEASED_AT_ONCE
    if more:
        upto, chain = groups[-1][1] + groups[-1][2] - 1, groups[-1][4]
    connection.executemany("DELETE FROM groups WHERE id = ?", [(row[0],) for row in groups])
    connection.execute("DELETE FROM tombstones WHERE stream = ? AND last <= ?", (stream.stream, upto))
    stream.rows -= sum(row[2] for row in groups)
    stream.bytes -= sum(row[3] + OVERHEAD for row in groups)
    stream.coarse_bytes -= sum(row[3] + OVERHEAD for row in groups if row[1] <= stream.coarse)
    stream.acked, stream.anchor = upto, chain
    _find_oldest(connection, stream)
    return more


def fork(connection: sqlite3.Connection, stream: Stream) -> None:
    """Begin a new incarnation after `acked`; sequences and chain go on, so nothing stored changes."""
    stream.incarnation, stream.origin = new_incarnation(), stream.acked
    connection.execute(  # a tombstone that grew over what was acknowledged has its beginning there
        "UPDATE tombstones SET first = ?, before = ? WHERE stream = ? AND first <= ? AND last > ?",
        (stream.acked + 1, stream.anchor, stream.stream, stream.acked, stream.acked),
    )
