"""Taking readings and coarser copies away, a slice at a time, each counted in the transaction it goes in.

[inv: every-loss-is-counted]
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from holdfast_hub.store import sizes
from holdfast_hub.store.folding import WAITS

SLICE: Final = 2_000  # readings of one transaction: ingest comes in between
Reason = Literal["MaxAge", "MaxBytes"]
# What stands above the high-water mark of its stream may still be taken back, and stays until it is decided; what is not
# in the coarser copies yet stays until it is.
_WHICH: Final = (
    " FROM readings WHERE series = ?1 AND time < ?2 AND (time, stream, sequence) > (?4, ?5, ?6)"  # noqa: S608 (constants)
    " AND time < (SELECT max(time) FROM readings WHERE series = ?1)"
    " AND stream IN (SELECT id FROM streams WHERE class = ?3)"
    " AND sequence <= (SELECT last FROM ranges JOIN streams ON streams.id = ranges.stream"
    " WHERE ranges.stream = readings.stream AND first = origin + 1)"
    f" AND NOT {WAITS}"
)
_OLD: Final = f"SELECT time, stream, sequence, {sizes.BYTES}{_WHICH} ORDER BY time, stream, sequence LIMIT ?7"
# One statement: SQLite's binding gives up the interpreter at every step (`store.readings`). Each row is found by its key.
_DELETE: Final = (
    "DELETE FROM readings WHERE (series, time, stream, sequence) IN"
    " (SELECT ?, column1, column2, column3 FROM (VALUES {}))"
)

Key = tuple[int, int, int]  # time, stream, sequence
Old = tuple[int, int, int, int]  # and its bytes
BEGINNING: Final[Key] = (-(2**63), -(2**63), -(2**63))


class Loss(msgspec.Struct, frozen=True):
    """What retention took of a series; `every` 0: readings, else spans of that length. Milliseconds, `until` not included.

    `rows` 0: this copy was made after they had gone."""

    every: int
    reason: Reason
    since: int
    until: int
    rows: int


def oldest(connection: sqlite3.Connection, series: int, stream_class: str, before: int, after: Key) -> list[Old]:
    """Return the oldest readings of a series after a key and before a time, in ms, but its newest. Only reads.

    Fewer than SLICE: there are no more. What is found here nobody else deletes."""
    return connection.execute(_OLD, (series, before, stream_class, *after, SLICE)).fetchall()


def retire(connection: sqlite3.Connection, series: int, found: Sequence[Old], reason: Reason) -> None:
    """Delete readings of a series that `oldest` returned."""
    for stream, count in Counter(stream for _, stream, _, _ in found).items():
        connection.execute(
            "INSERT INTO retired VALUES (?1, ?2) ON CONFLICT DO UPDATE SET readings = readings + ?2", (stream, count)
        )
    keys = [field for each in found for field in each[:3]]
    gone = connection.execute(_DELETE.format(", ".join(["(?, ?, ?)"] * len(found))), (series, *keys)).rowcount
    assert gone == len(found)
    sizes.take(connection, series, [(time, stream, size) for time, stream, _, size in found])
    _count(connection, series, 0, reason, found[0][0], found[-1][0] + 1, len(found))


def has_older_spans(connection: sqlite3.Connection, series: int, every: int, before: int) -> bool:
    query = "SELECT 1 FROM coarse WHERE series = ? AND every = ? AND time <= ? LIMIT 1"
    return connection.execute(query, (series, every, before - every)).fetchone() is not None


def retire_spans(connection: sqlite3.Connection, series: int, every: int, before: int) -> int:
    """Delete the oldest SLICE spans of a coarser copy that end before a time; return how many."""
    found = connection.execute(
        "SELECT time FROM coarse WHERE series = ? AND every = ? AND time <= ? ORDER BY time LIMIT ?",
        (series, every, before - every, SLICE),
    ).fetchall()
    if found:
        last = found[-1][0]
        connection.execute("DELETE FROM coarse WHERE series = ? AND every = ? AND time <= ?", (series, every, last))
        _count(connection, series, every, "MaxAge", found[0][0], last + every, len(found))
    return len(found)


def _count(
    connection: sqlite3.Connection, series: int, every: int, reason: Reason, since: int, until: int, rows: int
) -> None:
    connection.execute(
        "INSERT INTO taken VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " since = min(since, excluded.since), until = max(until, excluded.until), rows = rows + excluded.rows",
        (series, every, reason, since, until, rows),
    )


def losses(connection: sqlite3.Connection, series: int) -> list[Loss]:
    """Return what retention took of a series and of its copies, by length."""
    rows = connection.execute(
        "SELECT every, reason, since, until, rows FROM taken WHERE series = ? ORDER BY every, reason", (series,)
    )
    return [Loss(*row) for row in rows]


def counts(connection: sqlite3.Connection, site: str) -> dict[tuple[str, str, str], int]:
    """Return how many readings were taken away, by node, class and incarnation."""
    rows = connection.execute(
        "SELECT node, class, incarnation, readings FROM retired JOIN streams ON streams.id = stream WHERE site = ?",
        (site,),
    )
    return {(node, name, incarnation): count for node, name, incarnation, count in rows}
