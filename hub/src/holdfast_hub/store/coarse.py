"""Rows of coarser copies: what the readings of a span of time came to, kept longer than they are."""

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.core.sums import Sums, coarser, merged

ROWS: Final = 100  # of one statement
SPANS: Final = 5_000  # of a finer copy read at once
_FIELDS: Final = "count, numbers, least, greatest, total, last, newest, stream, sequence"
_ONE: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OLDEST: Final = "SELECT min(time) FROM coarse WHERE series = ? AND every = ? AND time > ? AND time < ?"
_NEWEST: Final = "SELECT max(time) FROM coarse WHERE series = ? AND every = ? AND time > ? AND time < ?"


class Span(msgspec.Struct, frozen=True):
    """A row: `time` is when it begins, `every` how long it is, in milliseconds."""

    series: int
    every: int
    time: int
    sums: Sums


def at(connection: sqlite3.Connection, series: int, every: int, time: int) -> list[Sums]:
    """Return what is kept of a span: one or nothing."""
    row = connection.execute(
        f"SELECT {_FIELDS} FROM coarse WHERE series = ? AND every = ? AND time = ?",  # noqa: S608 (constants)
        (series, every, time),
    ).fetchone()
    return [_sums(row)] if row else []


def put(connection: sqlite3.Connection, spans: Sequence[Span]) -> None:
    """Keep spans, each in the place of what is kept of it."""
    rows = [
        (
            each.series,
            each.every,
            each.time,
            each.sums.count,
            each.sums.numbers,
            each.sums.least,
            each.sums.greatest,
            each.sums.total,
            each.sums.last,
            *each.sums.newest,
        )
        for each in spans
    ]
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        values = ", ".join([_ONE] * len(part))
        connection.execute(f"INSERT OR REPLACE INTO coarse VALUES {values}", [field for row in part for field in row])  # noqa: S608 (constants)


def clear(connection: sqlite3.Connection, series: int, every: int) -> None:
    """Forget what was made of a copy."""
    connection.execute("DELETE FROM coarse WHERE series = ? AND every = ?", (series, every))


def lengths(connection: sqlite3.Connection, series: int) -> list[int]:
    """Return the lengths of a series' whole copies, the finest first."""
    rows = connection.execute(
        "SELECT every FROM tiers WHERE series = ? AND every > 0 AND upto IS NULL ORDER BY every", (series,)
    )
    return [every for (every,) in rows]


def finer(connection: sqlite3.Connection, series: int, every: int) -> int:
    """Return the length of the longest whole copy that one of `every` can be made of, 0 for none."""
    return max((each for each in lengths(connection, series) if each < every and every % each == 0), default=0)


def next_spans(
    connection: sqlite3.Connection, series: int, of: int, every: int, since: int
) -> tuple[list[Span], int | None]:
    """Return spans of `every` made of a finer copy from a time on, and from when to go on, None when that is all."""
    rows = connection.execute(
        f"SELECT time, {_FIELDS} FROM coarse WHERE series = ? AND every = ? AND time >= ? ORDER BY time LIMIT ?",  # noqa: S608 (constants)
        (series, of, since, SPANS + 1),
    ).fetchall()
    upto = rows.pop()[0] if len(rows) > SPANS else None
    found = coarser({time: _sums(row) for time, *row in rows}, every)
    spans = [
        Span(series, every, time, merged([one, *at(connection, series, every, time)])) for time, one in found.items()
    ]
    return spans, upto


def end(connection: sqlite3.Connection, series: int, every: int, since: int, until: int, *, newest: bool) -> int | None:
    """Return when the newest or oldest span of a copy begins that has something of a time, None when none has."""
    query = _NEWEST if newest else _OLDEST
    (time,) = connection.execute(query, (series, every, since - every, until)).fetchone()
    return None if time is None else int(time)


def within(connection: sqlite3.Connection, series: int, every: int, since: int, until: int) -> list[Sums]:
    """Return the spans that begin in a time."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM coarse WHERE series = ? AND every = ? AND time >= ? AND time < ?",  # noqa: S608 (constants)
        (series, every, since, until),
    )
    return [_sums(row) for row in rows]


def _sums(row: Iterable[Any]) -> Sums:
    count, numbers, least, greatest, total, last, *newest = row
    return Sums(count, numbers, least, greatest, math.nan if total is None else total, last, tuple(newest))
