"""Taking readings away, a slice at a time, each counted in the transaction it goes in. [inv: every-loss-is-counted]"""

import sqlite3
from collections import Counter
from typing import Final

SLICE: Final = 2_000  # readings of one transaction: ingest comes in between
# What stands above the high-water mark of its stream may still be taken back, and stays until it is decided.
_OLD: Final = (
    "SELECT time, stream, sequence FROM readings JOIN streams ON streams.id = stream"
    " WHERE series = ?1 AND time < ?2 AND class = ?3 AND (time, stream, sequence) > (?4, ?5, ?6)"
    " AND time < (SELECT max(time) FROM readings WHERE series = ?1)"
    " AND sequence <= (SELECT last FROM ranges WHERE ranges.stream = readings.stream AND first = origin + 1)"
    " ORDER BY time, stream, sequence LIMIT ?7"
)

Key = tuple[int, int, int]  # time, stream, sequence
BEGINNING: Final[Key] = (-(2**63), -(2**63), -(2**63))


def retire(connection: sqlite3.Connection, series: int, stream_class: str, before: int, after: Key) -> list[Key]:
    """Delete the oldest readings of a series after a key and before a time, in ms, but its newest; return their keys.

    Fewer than SLICE: there are no more."""
    keys: list[Key] = connection.execute(_OLD, (series, before, stream_class, *after, SLICE)).fetchall()
    connection.executemany(
        "DELETE FROM readings WHERE series = ? AND time = ? AND stream = ? AND sequence = ?",
        [(series, *key) for key in keys],
    )
    for stream, count in Counter(stream for _, stream, _ in keys).items():
        connection.execute(
            "INSERT INTO retired VALUES (?1, ?2) ON CONFLICT DO UPDATE SET readings = readings + ?2", (stream, count)
        )
    return keys


def counts(connection: sqlite3.Connection, site: str) -> dict[tuple[str, str, str], int]:
    """Return how many readings were taken away, by node, class and incarnation."""
    rows = connection.execute(
        "SELECT node, class, incarnation, readings FROM retired JOIN streams ON streams.id = stream WHERE site = ?",
        (site,),
    )
    return {(node, name, incarnation): count for node, name, incarnation, count in rows}
