"""Openings: the instants between which a calendar is open, in a zone.

Local starts become instants: one inside a skipped hour is the first instant after it, one inside a repeated hour is the
first of the two. An opening lasts its duration in real time, whatever clocks are set to meanwhile.
"""

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

import msgspec

from holdfast_protocol.calendar.cron import Cron
from holdfast_protocol.calendar.days import FIRST, LAST
from holdfast_protocol.calendar.rule import Rule

DAY: Final = 86_400  # seconds
JOINED: Final = 2 * DAY  # what touches is one opening, but a joined one is told in pieces of at least this
_EPOCH: Final = datetime.combine(date(1970, 1, 1), time())
_EARLIEST: Final = 2 * DAY
_LATEST: Final = int((datetime.combine(LAST, time()) - _EPOCH).total_seconds())


class Span(msgspec.Struct, frozen=True):
    """Local time from `start` up to and without `end`."""

    start: datetime
    end: datetime


class Opening(msgspec.Struct, frozen=True):
    """Seconds since 1970, `start` < `end`."""

    start: int
    end: int


class Calendar(msgspec.Struct, frozen=True):
    """A recurrence that opens for so many seconds each time, but not while `closed`, and always while `opened`."""

    recurrence: Cron | Rule
    seconds: int
    closed: tuple[Span, ...] = ()
    opened: tuple[Span, ...] = ()


def instant(local: datetime, zone: tzinfo) -> int:
    """Return a local time in seconds since 1970, by the rule above."""
    before, after = (int((zone.utcoffset(local.replace(fold=fold)) or timedelta()).total_seconds()) for fold in (0, 1))
    plain = int((local - _EPOCH).total_seconds())
    if before >= after:  # it exists, once or twice
        return plain - before
    low, high = plain - after, plain - before  # the clock was set forward after `low`, at `high` or before
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def local_time(at: float, zone: tzinfo) -> datetime:
    """Return an instant as the zone's local time, with the zone."""
    return datetime.fromtimestamp(_bounded(at), zone)


def _offset(at: int, zone: tzinfo) -> int:
    return int((datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset() or timedelta()).total_seconds())


def _bounded(at: float) -> int:
    return min(max(int(at), _EARLIEST), _LATEST)


def openings(calendar: Calendar, zone: tzinfo, at: float) -> Iterator[Opening]:
    """Yield the openings that end after an instant, in order. The first one may have begun before; none is inside another.

    Ends with the recurrence, or at its horizon. Two that touch are one, but of one that would last longer than
    JOINED by touching only a piece is yielded, and the next piece begins where it ends.
    """
    now = _bounded(at)
    regular = _without(_joined(_regular(calendar, zone, now)), _instants(calendar.closed, zone))
    for opening in _joined(heapq.merge(regular, _instants(calendar.opened, zone), key=lambda each: each.start)):
        if opening.end > now:
            yield opening


def _regular(calendar: Calendar, zone: tzinfo, now: int) -> Iterator[Opening]:
    since = datetime.fromtimestamp(max(now - calendar.seconds - 2 * DAY, 0), UTC).date()
    for day in calendar.recurrence.days(max(since, FIRST)):
        for minute in calendar.recurrence.minutes:
            start = instant(_minute_of(day, minute), zone)
            if start + calendar.seconds > now:
                yield Opening(start, start + calendar.seconds)


def _minute_of(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60))


def _instants(spans: Iterable[Span], zone: tzinfo) -> list[Opening]:
    found = [Opening(instant(each.start, zone), instant(each.end, zone)) for each in spans]
    return list(_joined(sorted((each for each in found if each.start < each.end), key=lambda each: each.start)))


def _joined(every: Iterable[Opening]) -> Iterator[Opening]:
    held: Opening | None = None
    for opening in every:
        if held is None:
            held = opening
        elif opening.start <= held.end and held.end - held.start < JOINED:
            held = Opening(held.start, max(held.end, opening.end))
        else:
            if held.start < held.end:
                yield held
            start = max(opening.start, held.end)
            held = Opening(start, max(opening.end, start))
    if held is not None and held.start < held.end:
        yield held


def _without(every: Iterable[Opening], closed: list[Opening]) -> Iterator[Opening]:
    for opening in every:
        start = opening.start
        for gap in closed:
            if gap.end <= start or gap.start >= opening.end:
                continue
            if gap.start > start:
                yield Opening(start, gap.start)
            start = gap.end
        if start < opening.end:
            yield Opening(start, opening.end)
