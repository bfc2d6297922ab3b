"""Readings of a span of time as one row: count, least, greatest, mean and last, by device, metric and unit.

A row is made of the longest coarser copies that make it up and lack nothing of it, else of the readings themselves;
with a copy goes what is stored and not in it yet, so that both come to the same.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Final

import msgspec

from holdfast_hub.core.sums import NOTHING, Sums, begin, fitting, merged
from holdfast_hub.store import coarse, folding, retired, series
from holdfast_hub.store.folding import WAITS
from holdfast_hub.store.readings import EVER
from holdfast_hub.store.retired import Loss
from holdfast_hub.store.series import NUMBERS, Chosen, SeriesRow
from holdfast_protocol.wire.readings import Value

BAD: Final = "bad"  # the quality that is counted and not reckoned with


class Bucket(msgspec.Struct, frozen=True):
    """Times in milliseconds since 1970, `until` not included. `count` 0 is a hole: nothing between its neighbours.

    `min`, `max` and `mean` are of numbers and booleans (0 and 1), None where there are none; `last` is the value with
    the latest time. Readings of quality `bad` are in `bad` and nowhere else. `tier` is the length of the spans of the
    coarser copy it was made of, 0: of readings. `lost` is why some of it was taken away and is in no copy that would do.
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
    tier: int = 0
    lost: str = ""


class _Source(msgspec.Struct, frozen=True):
    """A series, its coarser copies, the longest first, that make up a bucket, and what retention took of each."""

    row: SeriesRow
    tiers: tuple[int, ...]
    losses: tuple[Loss, ...]

    def lost(self, every: int, since: int, until: int) -> str:
        """Return why a copy (0: the readings) lacks something of a time, "" when it does not."""
        found = (each for each in self.losses if each.every == every and each.since < until and since < each.until)
        return next((each.reason for each in found), "")

    def choose(self, since: int, until: int) -> tuple[int, str]:
        """Return the copy to read a time from, 0 for the readings, and why something of it is missing, "" if nothing."""
        usable = [*fitting(self.tiers, since, until), 0]
        for tier in usable:
            if not self.lost(tier, since, until):
                return tier, ""
        furthest = min(usable, key=lambda tier: max(each.until for each in self.losses if each.every == tier))
        return furthest, self.lost(0, since, until)


class _Series(msgspec.Struct, frozen=True):
    """The series of one device's metric and unit, and the times of what is stored there and not in the copies yet."""

    sources: tuple[_Source, ...]
    waiting: Sequence[tuple[int, int]]

    def waits(self, since: int, until: int) -> bool:
        """Return whether something of a time may not be in the copies yet."""
        return any(earliest < until and since <= latest for earliest, latest in self.waiting)

    def hole(self, since: int, until: int, *, always: bool = True) -> Iterator[Bucket]:
        """Yield a hole: with why something of it was taken away, or, if `always`, without a reason."""
        one = self.sources[0].row
        lost = next((why for each in self.sources if (why := each.choose(since, until)[1])), "")
        if lost or always:
            yield Bucket(one.site, one.node, one.device, one.metric, one.unit, since, until, 0, lost=lost)


def find(connection: sqlite3.Connection, chosen: Chosen, every: int, limit: int) -> list[Bucket]:
    """Return the newest `limit` buckets of `every` milliseconds, newest first, holes between those of a series included."""
    found = [_with_holes(connection, each, chosen, every) for each in _all_series(connection, chosen, every)]
    return list(islice(merge(*found, key=lambda bucket: bucket.time, reverse=True), limit))


def identities(rows: Iterable[SeriesRow]) -> Iterator[tuple[SeriesRow, ...]]:
    """Yield the series of each device's metric and unit together; they are in that order."""
    for _, group in groupby(rows, key=lambda row: (row.site, row.device, row.metric, row.node, row.unit)):
        yield tuple(group)


def page(
    connection: sqlite3.Connection, rows: Sequence[SeriesRow], chosen: Chosen, every: int, limit: int
) -> list[Bucket]:
    """Return the oldest `limit` buckets of one device's metric and unit that hold something, oldest first."""
    one = _series(connection, rows, every, folding.waiting(connection))
    return list(islice(_filled(connection, one, chosen, every, newest=False), limit))


def _all_series(connection: sqlite3.Connection, chosen: Chosen, every: int) -> list[_Series]:
    waiting = folding.waiting(connection)
    return [_series(connection, rows, every, waiting) for rows in identities(series.choose(connection, chosen))]


def _series(
    connection: sqlite3.Connection, rows: Sequence[SeriesRow], every: int, waiting: dict[str, list[tuple[int, int]]]
) -> _Series:
    sources = []
    for row in rows:
        tiers = (each for each in coarse.lengths(connection, row.id) if every % each == 0)
        sources.append(_Source(row, tuple(sorted(tiers, reverse=True)), tuple(retired.losses(connection, row.id))))
    return _Series(tuple(sources), waiting.get(rows[0].site, ()))


def _filled(
    connection: sqlite3.Connection, one: _Series, chosen: Chosen, every: int, *, newest: bool
) -> Iterator[Bucket]:
    """Yield buckets that hold something, from one end on: the cost is that of what is asked for."""
    since = -EVER if chosen.since is None else chosen.since
    until = EVER if chosen.until is None else chosen.until
    low, high = since, until
    while (time := _end(connection, one, low, high, newest=newest)) is not None:
        start = begin(time, every)
        bucket = _bucket(connection, one, start, every, max(start, since), min(start + every, until))
        if bucket.count or bucket.bad:
            yield bucket
        low, high = (low, start) if newest else (start + every, high)


def _end(connection: sqlite3.Connection, one: _Series, since: int, until: int, *, newest: bool) -> int | None:
    """Return the time of the newest or oldest of what there is of a time, None for nothing."""
    found = []
    for source in one.sources:
        row = series.newest if newest else series.oldest
        if (reading := row(connection, source.row, since, until)) is not None:
            found.append(reading.time)
        spans = (coarse.end(connection, source.row.id, tier, since, until, newest=newest) for tier in source.tiers)
        found += [time for time in spans if time is not None]
    return (max if newest else min)(found, default=None)


def _bucket(connection: sqlite3.Connection, one: _Series, start: int, every: int, since: int, until: int) -> Bucket:
    row, longest, why = one.sources[0].row, 0, ""
    good: list[tuple[Sums, str]] = []
    bad: list[Sums] = []
    for source in one.sources:
        tier, lost = source.choose(since, until)
        parts = coarse.within(connection, source.row.id, tier, since, until) if tier else []
        if not tier:
            parts.append(_sums(connection, source.row, since, until))
        elif one.waits(since, until):
            parts.append(_sums(connection, source.row, since, until, waiting=True))
        held = merged(parts)
        longest, why = max(longest, tier) if held.count else longest, why or lost
        if source.row.quality == BAD:
            bad.append(held)
        else:
            good.append((held, source.row.kind))
    sums = merged(held for held, _ in good)
    kind = next((kind for held, kind in good if held.newest == sums.newest), "")
    return Bucket(
        site=row.site,
        node=row.node,
        device=row.device,
        metric=row.metric,
        unit=row.unit,
        time=start,
        until=start + every,
        count=sums.count,
        bad=sum(held.count for held in bad),
        min=sums.least,
        max=sums.greatest,
        mean=sums.mean,
        last=_shown(sums.last, kind) if sums.count else None,
        tier=longest,
        lost=why,
    )


def _shown(value: Value | None, kind: str) -> Value:
    return math.nan if value is None else bool(value) if kind == "bool" else value


def _sums(connection: sqlite3.Connection, row: SeriesRow, since: int, until: int, *, waiting: bool = False) -> Sums:
    """Return what the readings of a time come to; `waiting`: of those that are not in the copies yet."""
    what = "count(*), count(value), min(value), max(value), total(value)"
    if row.kind not in NUMBERS:
        what = "count(*), 0, NULL, NULL, 0.0"
    where = f"FROM readings WHERE series = ? AND time >= ? AND time < ? AND {WAITS if waiting else '1'}"
    count, numbers, least, greatest, total = connection.execute(
        f"SELECT {what} {where}",
        (row.id, since, until),
    ).fetchone()
    if not count:
        return NOTHING
    last, *newest = connection.execute(
        f"SELECT value, time, stream, sequence {where} ORDER BY time DESC, stream DESC, sequence DESC LIMIT 1",
        (row.id, since, until),
    ).fetchone()
    return Sums(count, numbers, least, greatest, math.nan if total is None else total, last, tuple(newest))


def _with_holes(connection: sqlite3.Connection, one: _Series, chosen: Chosen, every: int) -> Iterator[Bucket]:
    later = None
    for bucket in _filled(connection, one, chosen, every, newest=True):
        if later is not None and bucket.until < later.time:
            yield from one.hole(bucket.until, later.time)
        yield bucket
        later = bucket
    taken = [loss for source in one.sources for loss in source.losses if loss.every == 0]
    if taken:  # what is gone before everything that is there
        since = max(min(loss.since for loss in taken), -EVER if chosen.since is None else chosen.since)
        until = min(max(loss.until for loss in taken), EVER if chosen.until is None else chosen.until)
        until = begin(until - 1, every) + every if later is None else later.time
        if (first := begin(since, every)) < until:
            yield from one.hole(first, until, always=False)
