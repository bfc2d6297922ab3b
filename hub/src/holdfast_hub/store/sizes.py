"""How much room readings take, by series, stream and day: what bounds in bytes are judged by."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

DAY: Final = 86_400_000  # milliseconds
# A row of `readings` as it lies in the file, its part of the pages included (measured: 27.7 bytes with a number).
ROW: Final = 20
BYTES: Final = f"{ROW} + CASE typeof(value) WHEN 'text' THEN length(CAST(value AS BLOB)) ELSE 8 END"
_MINUTE: Final = 60_000


class Size(msgspec.Struct, frozen=True):
    series: int
    stream: int
    day: int
    readings: int
    bytes: int


def add(connection: sqlite3.Connection, sizes: Sequence[Size]) -> None:
    """Add to what is there; less than nothing takes away."""
    connection.executemany(
        "INSERT INTO sizes VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET readings = readings + excluded.readings, bytes = bytes + excluded.bytes",
        [(each.series, each.stream, each.day, each.readings, each.bytes) for each in sizes],
    )


def take(connection: sqlite3.Connection, series: int, gone: Iterable[tuple[int, int, int]]) -> None:
    """Take deleted readings (time, stream, bytes) of a series off; one whose size is not known has none."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for time, stream, size in gone:
        count, total = found.get((stream, time // DAY * DAY), (0, 0))
        found[stream, time // DAY * DAY] = count + 1, total + size
    for (stream, day), (count, total) in found.items():
        at = (series, stream, day)
        connection.execute(
            "UPDATE sizes SET readings = readings - ?, bytes = bytes - ? WHERE series = ? AND stream = ? AND day = ?",
            (count, total, *at),
        )
        connection.execute("DELETE FROM sizes WHERE series = ? AND stream = ? AND day = ? AND readings <= 0", at)


def cut(connection: sqlite3.Connection, series: Sequence[int], classes: Collection[str], most: int) -> int | None:
    """Return before which time, to the minute, in milliseconds, readings of some series and classes must go so that the
    rest takes at most `most` bytes; None: nothing must go."""
    days: dict[int, int] = {}
    for number in series:
        for day, name, size in connection.execute(
            "SELECT day, class, bytes FROM sizes JOIN streams ON streams.id = stream WHERE series = ?", (number,)
        ):
            if name in classes:
                days[day] = days.get(day, 0) + size
    if sum(days.values()) <= most:
        return None
    for day in sorted(days, reverse=True):
        if days[day] > most:
            return _cut_within(connection, series, classes, most, day)
        most -= days[day]
    return None


def _cut_within(
    connection: sqlite3.Connection, series: Sequence[int], classes: Collection[str], most: int, day: int
) -> int:
    minutes: dict[int, int] = {}
    for number in series:
        for minute, name, size in connection.execute(
            f"SELECT (time - ?) / {_MINUTE}, class, sum({BYTES}) FROM readings JOIN streams ON streams.id = stream"  # noqa: S608 (constants)
            " WHERE series = ? AND time >= ? AND time < ? GROUP BY 1, 2",
            (day, number, day, day + DAY),
        ):
            if name in classes:
                minutes[minute] = minutes.get(minute, 0) + size
    for minute in sorted(minutes, reverse=True):
        most -= minutes[minute]
        if most < 0:
            return day + (minute + 1) * _MINUTE
    return day
