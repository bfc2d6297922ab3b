"""Readings of a span of time as one row: count, least, greatest, mean and last, by device, metric and unit."""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Final

import msgspec

from holdfast_hub.store import series
from holdfast_hub.store.series import NUMBERS, Chosen, SeriesRow
from holdfast_protocol.wire.readings import Value

BAD: Final = "bad"  # the quality that is counted and not reckoned with


class Bucket(msgspec.Struct, frozen=True):
    """Times in milliseconds since 1970, `until` not included. `count` 0 is a hole: nothing between its neighbours.

    `min`, `max` and `mean` are of numbers and booleans (0 and 1), None where there are none; `last` is the value with
    the latest time. Readings of quality `bad` are in `bad` and nowhere else.
    """

    site: str
    node: str
    device: str
    metric: str
    unit: str
    time: int
    until: int
    count: int
    bad: int = 0
    min: float | int | None = None
    max: float | int | None = None
    mean: float | None = None
    last: Value | None = None


_Sums = tuple[int, int, float | None, float | None, float]  # rows, numbers, least, greatest, sum
_NOTHING: Final[_Sums] = (0, 0, None, None, 0.0)


def find(connection: sqlite3.Connection, chosen: Chosen, every: int, limit: int) -> list[Bucket]:
    """Return the newest `limit` buckets of `every` milliseconds, newest first, holes between those of a series included."""
    rows = series.choose(connection, chosen)
    found = [_with_holes(_of(connection, list(group), chosen, every)) for _, group in groupby(rows, key=_identity)]
    return list(islice(merge(*found, key=lambda bucket: bucket.time, reverse=True), limit))


def _identity(row: SeriesRow) -> tuple[str, ...]:
    return row.site, row.device, row.metric, row.node, row.unit


def _of(connection: sqlite3.Connection, rows: Sequence[SeriesRow], chosen: Chosen, every: int) -> Iterator[Bucket]:
    """Yield buckets that hold something: from each newest reading down, so that the cost is that of what is returned."""
    one, until = rows[0], chosen.until
    while True:
        ends = {row.id: end for row in rows if (end := series.newest(connection, row, chosen.since, until)) is not None}
        if not ends:
            return
        start = max(end.time for end in ends.values()) // every * every
        since = start if chosen.since is None else max(start, chosen.since)
        upper = start + every if until is None else min(start + every, until)
        good = [row for row in rows if row.id in ends and row.quality != BAD]
        bad = [row for row in rows if row.id in ends and row.quality == BAD]
        sums = [_sums(connection, row, since, upper) for row in good]
        last = max(
            (ends[row.id] for row in good if ends[row.id].time >= start),
            key=lambda end: (end.time, end.stream, end.sequence),
            default=None,
        )
        numbers = sum(part[1] for part in sums)
        yield Bucket(
            site=one.site,
            node=one.node,
            device=one.device,
            metric=one.metric,
            unit=one.unit,
            time=start,
            until=start + every,
            count=sum(part[0] for part in sums),
            bad=sum(_sums(connection, row, since, upper)[0] for row in bad),
            min=min((part[2] for part in sums if part[2] is not None), default=None),
            max=max((part[3] for part in sums if part[3] is not None), default=None),
            mean=math.fsum(part[4] for part in sums) / numbers if numbers else None,
            last=None if last is None else last.value,
        )
        until = start


def _sums(connection: sqlite3.Connection, row: SeriesRow, since: int, until: int) -> _Sums:
    what = "count(*), count(value), min(value), max(value), total(value)"
    if row.kind not in NUMBERS:
        what = "count(*), 0, NULL, NULL, 0.0"
    found: _Sums | None = connection.execute(
        f"SELECT {what} FROM readings WHERE series = ? AND time >= ? AND time < ?",  # noqa: S608 (constants)
        (row.id, since, until),
    ).fetchone()
    return found or _NOTHING


def _with_holes(buckets: Iterable[Bucket]) -> Iterator[Bucket]:
    later: Bucket | None = None
    for bucket in buckets:
        if later is not None and bucket.until < later.time:
            yield Bucket(
                bucket.site, bucket.node, bucket.device, bucket.metric, bucket.unit, bucket.until, later.time, 0
            )
        yield bucket
        later = bucket
