"""Series as questions see them: what is selected, its newest reading, pages of it.

With `store.readings` the only modules that know how rows of readings lie. Every function reads.
"""

import math
import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.wire.readings import Value

MAX_SERIES: Final = 20_000  # one question may be about
NUMBERS: Final = ("int", "float", "bool")


class SeriesRow(msgspec.Struct, frozen=True):
    id: int
    site: str
    node: str
    device: str
    metric: str
    unit: str
    quality: str
    kind: str  # of value: int, float, bool, text


class Chosen(msgspec.Struct, frozen=True):
    """A selection: empty names mean any; milliseconds since 1970, `since` included, `until` not, None no bound."""

    site: str = ""
    device: str = ""
    metric: str = ""
    since: int | None = None
    until: int | None = None


class Place(msgspec.Struct, frozen=True):
    """Where a page ended."""

    time: int
    stream: int
    sequence: int


class Row(msgspec.Struct, frozen=True):
    time: int
    value: Value
    stream: int
    sequence: int


class StreamName(msgspec.Struct, frozen=True):
    name: str  # p0 to p3
    incarnation: str


def choose(connection: sqlite3.Connection, chosen: Chosen) -> list[SeriesRow]:
    """Return the series of a selection by site, device and metric. Raises InputError for more than MAX_SERIES."""
    rows = connection.execute(
        "SELECT id, site, node, device, metric, unit, quality, kind FROM series"
        " WHERE (?1 = '' OR site = ?1) AND (?2 = '' OR device = ?2) AND (?3 = '' OR metric = ?3)"
        " ORDER BY site, device, metric, node, unit, id LIMIT ?4",
        (chosen.site, chosen.device, chosen.metric, MAX_SERIES + 1),
    ).fetchall()
    if len(rows) > MAX_SERIES:
        raise InputError([Problem(f"more than {MAX_SERIES} series", hint="name a site, a device or a metric")])
    return [SeriesRow(*row) for row in rows]


def newest(
    connection: sqlite3.Connection, series: SeriesRow, since: int | None = None, until: int | None = None
) -> Row | None:
    """Return the reading with the latest time, None when there is none: late history is never the newest."""
    row = connection.execute(
        "SELECT time, value, stream, sequence FROM readings"
        " WHERE series = ?1 AND (?2 IS NULL OR time >= ?2) AND (?3 IS NULL OR time < ?3)"
        " ORDER BY time DESC, stream DESC, sequence DESC LIMIT 1",
        (series.id, since, until),
    ).fetchone()
    return _row(series, *row) if row else None


def page(
    connection: sqlite3.Connection, series: SeriesRow, chosen: Chosen, after: Place | None, limit: int
) -> list[Row]:
    """Return the next `limit` readings of a series in the order of their times."""
    least = -(2**63)
    at = after or Place(least if chosen.since is None else chosen.since, least, least)
    rows = connection.execute(
        "SELECT time, value, stream, sequence FROM readings"
        " WHERE series = ?1 AND (time, stream, sequence) > (?2, ?3, ?4) AND (?5 IS NULL OR time < ?5)"
        " ORDER BY time, stream, sequence LIMIT ?6",
        (series.id, at.time, at.stream, at.sequence, chosen.until, limit),
    ).fetchall()
    return [_row(series, *row) for row in rows]


def of_group(
    connection: sqlite3.Connection,
    stream: int,
    site: str,
    node: str,
    sequences: tuple[int, int],
    times: tuple[int, int],
) -> Iterator[tuple[SeriesRow, Row]]:
    """Yield the stored readings of one group, named by its sequences and the earliest and latest of its times."""
    for number, device, metric, unit, quality, kind, time, value, sequence in connection.execute(
        "SELECT series.id, device, metric, unit, quality, kind, time, value, sequence"
        " FROM series JOIN readings ON readings.series = series.id"
        " WHERE site = ? AND node = ? AND time BETWEEN ? AND ? AND stream = ? AND sequence BETWEEN ? AND ?"
        " ORDER BY sequence",
        (site, node, *times, stream, *sequences),
    ):
        series = SeriesRow(number, site, node, device, metric, unit, quality, kind)
        yield series, _row(series, time, value, stream, sequence)


def stream_names(connection: sqlite3.Connection) -> dict[int, StreamName]:
    rows = connection.execute("SELECT id, class, incarnation FROM streams")
    return {number: StreamName(name, incarnation) for number, name, incarnation in rows}


def _row(series: SeriesRow, time: int, value: Value | None, stream: int, sequence: int) -> Row:
    shown: Value = math.nan if value is None else bool(value) if series.kind == "bool" else value
    return Row(time, shown, stream, sequence)
