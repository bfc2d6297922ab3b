"""Series as questions see them: what is selected, its newest reading, pages of it.

With `store.readings` the only modules that know how rows of readings lie. Every function reads.
"""

import math
import sqlite3
from typing import Final

import msgspec

from holdfast_hub.store.readings import EVER
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
    rows = every(connection, chosen, MAX_SERIES + 1)
    if len(rows) > MAX_SERIES:
        raise InputError([Problem(f"more than {MAX_SERIES} series", hint="name a site, a device or a metric")])
    return rows


def every(connection: sqlite3.Connection, chosen: Chosen, most: int = -1) -> list[SeriesRow]:
    """Return the first `most` series of a selection by site, device and metric, below 0 all."""
    named = {"site": chosen.site, "device": chosen.device, "metric": chosen.metric}
    where, values = selected(named)
    rows = connection.execute(
        f"SELECT id, site, node, device, metric, unit, quality, kind FROM series WHERE {where}"  # noqa: S608 (constants)
        " ORDER BY site, device, metric, node, unit, id LIMIT ?",
        (*values, most),
    )
    return [SeriesRow(*row) for row in rows]


def selected(named: dict[str, str]) -> tuple[str, list[str]]:
    """Return the condition, of columns that may be "" for any, and its values: an index is used only for what is in it."""
    given = {column: value for column, value in named.items() if value}
    return " AND ".join(f"{column} = ?" for column in given) or "1", list(given.values())


def taken_from(connection: sqlite3.Connection, chosen: Chosen, limit: int) -> list[SeriesRow]:
    """Return the first series of a selection that retention took readings of."""
    rows = connection.execute(
        "SELECT id, site, node, device, metric, unit, quality, kind FROM series"
        " WHERE (?1 = '' OR site = ?1) AND (?2 = '' OR device = ?2) AND (?3 = '' OR metric = ?3)"
        " AND EXISTS (SELECT 1 FROM taken WHERE series = series.id AND every = 0)"
        " ORDER BY site, device, metric, node, unit, id LIMIT ?4",
        (chosen.site, chosen.device, chosen.metric, limit),
    )
    return [SeriesRow(*row) for row in rows]


def newest(
    connection: sqlite3.Connection, series: SeriesRow, since: int | None = None, until: int | None = None
) -> Row | None:
    """Return the reading with the latest time, None when there is none: late history is never the newest."""
    row = connection.execute(
        "SELECT time, value, stream, sequence FROM readings"
        " WHERE series = ? AND time >= ? AND time < ? ORDER BY time DESC, stream DESC, sequence DESC LIMIT 1",
        (series.id, -EVER if since is None else since, EVER if until is None else until),
    ).fetchone()
    return _row(series, *row) if row else None


def oldest(
    connection: sqlite3.Connection, series: SeriesRow, since: int | None = None, until: int | None = None
) -> Row | None:
    """Return the reading with the earliest time, None when there is none."""
    found = page(connection, series, Chosen(since=since, until=until), None, 1)
    return found[0] if found else None


def page(
    connection: sqlite3.Connection, series: SeriesRow, chosen: Chosen, after: Place | None, limit: int
) -> list[Row]:
    """Return the next `limit` readings of a series in the order of their times."""
    least = -(2**63)
    at = after or Place(-EVER if chosen.since is None else chosen.since, least, least)
    rows = connection.execute(
        "SELECT time, value, stream, sequence FROM readings"
        " WHERE series = ? AND (time, stream, sequence) > (?, ?, ?) AND time < ? ORDER BY time, stream, sequence LIMIT ?",
        (series.id, at.time, at.stream, at.sequence, EVER if chosen.until is None else chosen.until, limit),
    ).fetchall()
    return [_row(series, *row) for row in rows]


def stretches(connection: sqlite3.Connection, stream: int, first: int, times: tuple[int, int]) -> list[tuple[int, int]]:
    """Return where the readings of a group lie, of which `times` are the earliest and the latest."""
    found = connection.execute("SELECT since, until FROM stretches WHERE stream = ? AND first = ?", (stream, first))
    return found.fetchall() or [times]


def of_group(
    connection: sqlite3.Connection,
    stream: int,
    site: str,
    node: str,
    sequences: tuple[int, int],
    times: tuple[int, int],
) -> list[tuple[SeriesRow, Row]]:
    """Return the stored readings of one group, named by its sequences and the earliest and latest of its times."""
    found = []
    for stretch in stretches(connection, stream, sequences[0], times):
        for number, device, metric, unit, quality, kind, time, value, sequence in connection.execute(
            "SELECT series.id, device, metric, unit, quality, kind, time, value, sequence"
            " FROM series JOIN readings ON readings.series = series.id"
            " WHERE site = ? AND node = ? AND time BETWEEN ? AND ? AND stream = ? AND sequence BETWEEN ? AND ?",
            (site, node, *stretch, stream, *sequences),
        ):
            series = SeriesRow(number, site, node, device, metric, unit, quality, kind)
            found.append((series, _row(series, time, value, stream, sequence)))
    return sorted(found, key=lambda each: each[1].sequence)


def stream_names(connection: sqlite3.Connection) -> dict[int, StreamName]:
    rows = connection.execute("SELECT id, class, incarnation FROM streams")
    return {number: StreamName(name, incarnation) for number, name, incarnation in rows}


def _row(series: SeriesRow, time: int, value: Value | None, stream: int, sequence: int) -> Row:
    shown: Value = math.nan if value is None else bool(value) if series.kind == "bool" else value
    return Row(time, shown, stream, sequence)
