"""Readings as rows: stored many to a statement, asked for by site, device, metric and time."""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappush, heapreplace
from typing import Final

import msgspec

from holdfast_hub.store.reader import Reader
from holdfast_protocol.wire.readings import Series, Value

# SQLite's binding gives up the interpreter at every step, and each time waits for it again behind a busy event loop:
# a row a statement is a hundred times slower beside one.
ROWS: Final = 100
EVER: Final = 2**62  # milliseconds: no time is later, none as early as this before 1970
MAX_LIMIT: Final = 100_000
KNOWN: Final = 100_000  # series kept in memory
_INSERT_ONE: Final = "INSERT INTO readings VALUES (?, ?, ?, ?, ?)"
_INSERT: Final = _INSERT_ONE + ", (?, ?, ?, ?, ?)" * (ROWS - 1)


class StoredReading(msgspec.Struct, frozen=True):
    """A reading and where it came from; `time` is in milliseconds since 1970."""

    site: str
    node: str
    device: str
    metric: str
    time: int
    value: Value
    unit: str
    quality: str
    incarnation: str
    sequence: int


Row = tuple[int, int, int, int, Value | None]
_Names = Sequence[str]  # site, node, device, metric, unit, quality


class SeriesIndex:
    """Numbers of series. `forget` after a transaction that failed: it may have held new ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], int] = {}

    def number(self, connection: sqlite3.Connection, site: str, node: str, series: Series) -> int:
        key = (site, node, series.device, series.metric, series.unit, series.quality, series.kind)
        found = self._known.get(key)
        if found is None:
            connection.execute(
                "INSERT INTO series (site, node, device, metric, unit, quality, kind) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                key,
            )
            found = int(
                connection.execute(
                    "SELECT id FROM series WHERE site = ? AND node = ? AND device = ? AND metric = ?"
                    " AND unit = ? AND quality = ? AND kind = ?",
                    key,
                ).fetchone()[0]
            )
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[key] = found
        return found

    def forget(self) -> None:
        self._known.clear()


def rows_of(number: int, stream: int, first: int, series: Series) -> Iterator[Row]:
    """Yield the rows of one series of a group; `first` is the sequence of its first reading."""
    values: Iterable[Value | None] = series.values
    if series.kind == "float":  # SQLite has no "not a number" and would refuse it
        values = (None if value != value else value for value in series.values)
    sequences = range(first, first + len(series.times))
    return zip([number] * len(series.times), series.times, [stream] * len(series.times), sequences, values, strict=True)


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    whole = len(rows) - len(rows) % ROWS
    for start in range(0, whole, ROWS):
        connection.execute(_INSERT, [field for row in rows[start : start + ROWS] for field in row])
    connection.executemany(_INSERT_ONE, rows[whole:])


class ReadingStore:
    def __init__(self, reader: Reader) -> None:
        """`reader` is one of the file that `streams.open_streams` opened."""
        self._reader = reader

    async def find(
        self,
        site: str,
        device: str = "",
        metric: str = "",
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = 1000,
    ) -> list[StoredReading]:
        """Return the newest `limit` readings of a site in the order of their times.

        Empty names mean any. `since` is included and `until` is not; None means no bound. Raises InputError when it
        takes too long.
        """
        most = min(limit, MAX_LIMIT)
        found = await self._reader.run(lambda held: newest(held, [site], device, metric, since, until, most))
        return found[::-1]


def newest(
    connection: sqlite3.Connection,
    sites: Iterable[str],
    device: str,
    metric: str,
    since: int | None,
    until: int | None,
    limit: int,
) -> list[StoredReading]:
    """Return the newest `limit` readings of some sites, newest first; no more than that is held at any time."""
    # A heap: the oldest, and of those at one time the last found, first.
    best: list[tuple[int, int, StoredReading]] = []
    low, count = -EVER if since is None else since, 0
    for site in sites:
        series = connection.execute(
            "SELECT id, kind, site, node, device, metric, unit, quality FROM series"
            " WHERE site = ?1 AND (?2 = '' OR device = ?2) AND (?3 = '' OR metric = ?3)",
            (site, device, metric),
        ).fetchall()
        for number, kind, *names in series:
            for each in _newest(connection, number, kind, names, low, until, limit):
                count -= 1
                if len(best) < limit:
                    heappush(best, (each.time, count, each))
                elif each.time > best[0][0]:
                    heapreplace(best, (each.time, count, each))
                else:
                    break
            if len(best) == limit:
                low = max(low, best[0][0])
    return [each for _, _, each in sorted(best, reverse=True)]


def _newest(
    connection: sqlite3.Connection,
    number: int,
    kind: str,
    names: _Names,
    since: int,
    until: int | None,
    limit: int,
) -> Iterator[StoredReading]:
    site, node, device, metric, unit, quality = names
    for time, value, incarnation, sequence in connection.execute(
        "SELECT time, value, incarnation, sequence FROM readings JOIN streams ON streams.id = stream"
        " WHERE series = ? AND time >= ? AND time < ? ORDER BY time DESC, stream DESC, sequence DESC LIMIT ?",
        (number, since, EVER if until is None else until, limit),
    ):
        yield StoredReading(site, node, device, metric, time, _value(kind, value), unit, quality, incarnation, sequence)


def _value(kind: str, value: Value | None) -> Value:
    if value is None:
        return math.nan
    return bool(value) if kind == "bool" else value
