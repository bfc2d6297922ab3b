"""What sites have sent, and what is known of what they have not: streams, gaps, records, the ledger, the rejected."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from holdfast_hub.store.ranges import Stream
from holdfast_hub.store.reader import Reader
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire.batch import Group, Placed
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.names import NodeName, SiteName

MAX_REJECTED: Final = 1000
WIDE: Final = 86_400_000  # milliseconds between the times of a group
MAX_KEPT: Final = 64 * 1024  # bytes of a rejected payload
_ABOVE: Final = (
    "DELETE FROM segments WHERE stream = ? AND first > ?",
    "DELETE FROM gaps WHERE stream = ? AND first > ?",
    "DELETE FROM ranges WHERE stream = ? AND first > ?",
    "DELETE FROM records WHERE stream = ? AND sequence > ?",
)
_RECORDS: Final = (
    "SELECT position, site, node, class, incarnation, sequence, records.kind, at, body"
    " FROM records JOIN streams ON streams.id = records.stream WHERE "
)
_AFTER: Final = _RECORDS + "position > ? ORDER BY position LIMIT ?"
_NEWEST: Final = _RECORDS + (
    "position > 0 AND site = ? AND (? = '' OR class = ?) AND (? = '' OR records.kind = ?)"
    " ORDER BY position DESC LIMIT ?"
)


class StreamLedger(msgspec.Struct, frozen=True):
    """`sent` = `stored` + `tombstoned` + `pending`, always. What is pending of a history that is not open is lost."""

    site: SiteName
    node: NodeName
    stream: str
    incarnation: str
    state: Literal["open", "superseded", "forked"]
    since: int  # milliseconds since 1970
    sent: int  # sequences the node is known to have given out
    stored: int
    tombstoned: int
    pending: int


class Gap(msgspec.Struct, frozen=True):
    """Rows that will never come. `size` is in bytes, `received` in milliseconds since 1970."""

    node: NodeName
    stream: str
    incarnation: str
    first: int
    last: int
    size: int
    reason: str
    received: int


class StoredRecord(msgspec.Struct, frozen=True):
    position: int  # grows in the order in which records may be read, streams mixed
    site: SiteName
    node: NodeName
    stream: str
    incarnation: str
    sequence: int
    record: Record


class Rejected(msgspec.Struct, frozen=True):
    """What could not be taken; `size` is that of the whole payload."""

    site: str
    node: str
    stream: str
    reason: str
    message: str
    size: int
    payload: bytes
    received: int


def open_streams(path: Path) -> Database:
    """Open and migrate readings.db."""
    return Database(path, migrations("holdfast_hub.store", "schema_streams"), shrinks=True)


class StreamStore:
    """Queries for anybody; what changes rows is for `link.ingest`, inside its transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reader = Reader(database.path)  # of its own: accounts do not wait for long questions

    async def ledger(self, site: str) -> list[StreamLedger]:
        """Return the account of every stream of a site, the newest of each class last."""
        return await self.reader.run(partial(ledger, site=site))

    async def gaps(self, site: str, *, limit: int = 1000) -> list[Gap]:
        """Return the newest `limit` gaps of a site, newest first."""
        return await self.reader.run(partial(gaps, site=site, limit=limit))

    async def records(self, site: str, stream: str = "", kind: str = "", *, limit: int = 100) -> list[StoredRecord]:
        """Return the newest `limit` records of a site, newest first; empty names mean any."""
        return await self._records(_NEWEST, (site, stream, stream, kind, kind, limit))

    async def records_after(self, position: int, *, limit: int = 1000) -> list[StoredRecord]:
        """Return the records after `position` (0: from the first) of all sites, in order.

        A consumer that keeps the last position it has dealt with sees each record, in order, also after a crash.
        """
        return await self._records(_AFTER, (position, limit))

    async def _records(self, query: str, values: tuple[Any, ...]) -> list[StoredRecord]:
        rows = await self.reader.run(lambda connection: connection.execute(query, values).fetchall())
        return [
            StoredRecord(position, site, node, name, incarnation, sequence, Record(kind, at, msgspec.json.decode(body)))
            for position, site, node, name, incarnation, sequence, kind, at, body in rows
        ]

    async def rejected(self, site: str, *, limit: int = 100) -> list[Rejected]:
        """Return the newest `limit` rejected messages of a site, newest first."""
        rows = await self.reader.run(
            lambda connection: connection.execute(
                "SELECT site, node, class, reason, message, size, payload, received FROM rejected"
                " WHERE site = ? ORDER BY id DESC LIMIT ?",
                (site, limit),
            ).fetchall()
        )
        return [Rejected(*row) for row in rows]


def ledger(connection: sqlite3.Connection, site: str) -> list[StreamLedger]:
    rows = connection.execute(
        "SELECT site, node, class, incarnation, state, since, high - origin, stored, tombstoned,"
        " high - origin - stored - tombstoned FROM streams WHERE site = ? ORDER BY node, class, id",
        (site,),
    )
    return [StreamLedger(*row) for row in rows]


def has_spoken(connection: sqlite3.Connection, site: str) -> bool:
    """Return whether anything ever came from a site."""
    return connection.execute("SELECT 1 FROM streams WHERE site = ? LIMIT 1", (site,)).fetchone() is not None


def gaps(connection: sqlite3.Connection, site: str, limit: int) -> list[Gap]:
    rows = connection.execute(
        "SELECT node, class, incarnation, first, last, size, reason, received"
        " FROM gaps JOIN streams ON streams.id = gaps.stream WHERE site = ?"
        " ORDER BY received DESC, gaps.stream, first DESC LIMIT ?",
        (site, limit),
    )
    return [Gap(*row) for row in rows]


def find(connection: sqlite3.Connection, site: str, node: str, name: str, incarnation: str) -> Stream | None:
    """Return a stream; None when nothing of it has come yet."""
    row = connection.execute(
        "SELECT id, site, node, class, incarnation, origin, high, stored, tombstoned, state FROM streams"
        " WHERE site = ? AND node = ? AND class = ? AND incarnation = ?",
        (site, node, name, incarnation),
    ).fetchone()
    return Stream(*row) if row else None


def begin(
    connection: sqlite3.Connection, site: str, node: str, name: str, incarnation: str, origin: int, now: int
) -> Stream:
    """Make a stream; the node's older ones of the class get no more."""
    connection.execute(
        "UPDATE streams SET state = 'superseded' WHERE site = ? AND node = ? AND class = ? AND state = 'open'",
        (site, node, name),
    )
    connection.execute(
        "INSERT INTO streams (site, node, class, incarnation, origin, high, since) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (site, node, name, incarnation, origin, origin, now),
    )
    found = find(connection, site, node, name, incarnation)
    assert found is not None
    return found


def save(connection: sqlite3.Connection, stream: Stream) -> None:
    connection.execute(
        "UPDATE streams SET high = ?, stored = ?, tombstoned = ? WHERE id = ?",
        (stream.high, stream.stored, stream.tombstoned, stream.id),
    )


def end_forked(connection: sqlite3.Connection, stream: Stream, mark: int) -> None:
    """Take nothing more into a history that was found to be two, and take back what is above its high-water mark.

    Nobody was told that those rows may be deleted: whoever sent them has them, and sends them again under another name.
    """
    for first, last, since, until in connection.execute(
        "SELECT first, last, since, until FROM segments WHERE stream = ? AND first > ?", (stream.id, mark)
    ).fetchall():
        connection.execute(
            "DELETE FROM readings WHERE series IN (SELECT id FROM series WHERE site = ? AND node = ?)"
            " AND time BETWEEN ? AND ? AND stream = ? AND sequence BETWEEN ? AND ?",
            (stream.site, stream.node, since, until, stream.id, first, last),
        )
        stream.stored -= last - first + 1
    (buried,) = connection.execute(
        "SELECT coalesce(sum(last - first + 1), 0) FROM gaps WHERE stream = ? AND first > ?", (stream.id, mark)
    ).fetchone()
    stream.tombstoned -= buried
    for delete in _ABOVE:
        connection.execute(delete, (stream.id, mark))
    connection.execute("UPDATE streams SET state = 'forked' WHERE id = ?", (stream.id,))
    save(connection, stream)


def keep_segment(
    connection: sqlite3.Connection, stream: Stream, each: Placed, group: Group, times: tuple[int, int], now: int
) -> None:
    """Note a stored group, the earliest and latest time of its readings, and the node's clocks at its commit."""
    stamp = group.stamp
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream.id,
            each.first,
            each.last,
            each.after,
            group.kind,
            *times,
            stamp.boot_id,
            stamp.boottime,
            stamp.wall,
            stamp.quality,
            now,
        ),
    )
    stream.stored += group.count


def keep_stretches(
    connection: sqlite3.Connection, stream: Stream, first: int, stretches: Sequence[tuple[int, int]]
) -> None:
    """Note where the readings of a group lie whose times are over WIDE apart."""
    if len(stretches) > 1:
        connection.executemany(
            "INSERT INTO stretches VALUES (?, ?, ?, ?)", [(stream.id, first, *each) for each in stretches]
        )


def keep_records(connection: sqlite3.Connection, stream: Stream, first: int, records: list[Record]) -> None:
    """Store the records of a group; nobody reads them before `publish`."""
    connection.executemany(
        "INSERT INTO records (stream, sequence, kind, at, body) VALUES (?, ?, ?, ?, ?)",
        [
            (stream.id, sequence, record.kind, record.at, msgspec.json.encode(record.body).decode())
            for sequence, record in enumerate(records, first)
        ],
    )


def publish(connection: sqlite3.Connection, stream: Stream, after: int, upto: int) -> list[Record]:
    """Give the records of after < sequence <= upto their positions and return them in order."""
    rows = connection.execute(
        "SELECT sequence, kind, at, body FROM records"
        " WHERE stream = ? AND sequence > ? AND sequence <= ? ORDER BY sequence",
        (stream.id, after, upto),
    ).fetchall()
    position = connection.execute("SELECT coalesce(max(position), 0) FROM records").fetchone()[0]
    connection.executemany(
        "UPDATE records SET position = ? WHERE stream = ? AND sequence = ?",
        [(position + number, stream.id, row[0]) for number, row in enumerate(rows, 1)],
    )
    return [Record(kind, at, msgspec.json.decode(body)) for _, kind, at, body in rows]


def reject(
    connection: sqlite3.Connection,
    site: str,
    node: str,
    name: str,
    reason: str,
    message: str,
    payload: bytes,
    now: int,
    *,
    kept: int = MAX_KEPT,
) -> None:
    """Note what could not be taken with the first `kept` bytes of it; only the newest are kept."""
    connection.execute(
        "INSERT INTO rejected (site, node, class, reason, message, size, payload, received)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (site, node, name, reason, message[:1000], len(payload), payload[:kept], now),
    )
    connection.execute("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (MAX_REJECTED,))
