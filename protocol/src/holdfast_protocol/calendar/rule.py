"""Rules: the RRULE of RFC 5545 (3.3.10) on whole days.

FREQ (DAILY to YEARLY), INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, BYSETPOS, COUNT, UNTIL, WKST; the time of day and the first
day are DTSTART's. A day that does not exist (31 April) is passed over. What is not in this list is refused.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final

import msgspec

from holdfast_protocol.calendar.days import FIRST, LAST, horizon, length
from holdfast_protocol.errors import WireError

MAX_TEXT: Final = 500  # characters
MAX_COUNT: Final = 1_000
MAX_INTERVAL: Final = 1_000
_WEEKDAYS: Final = {name: number for number, name in enumerate(["MO", "TU", "WE", "TH", "FR", "SA", "SU"], 1)}
_BYDAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL: Final = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?")
_PARTS: Final = frozenset({"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "COUNT", "UNTIL", "WKST"})


class Rule(msgspec.Struct, frozen=True):
    """A checked rule. `byday` are (which, weekday), which 0 for every; weekdays 1 (Monday) to 7."""

    start: datetime  # local
    freq: str
    interval: int = 1
    byday: tuple[tuple[int, int], ...] = ()
    bymonthday: tuple[int, ...] = ()
    bymonth: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()
    count: int | None = None  # None: no end by number
    until: datetime | None = None  # local, included; None: no end by time
    wkst: int = 1

    @property
    def minutes(self) -> tuple[int, ...]:
        """The one minute of the day it comes at."""
        return (self.start.hour * 60 + self.start.minute,)

    def days(self, since: date) -> Iterator[date]:
        """Yield its days from `since` on, ascending, as far as the horizon."""
        first, left = self.start.date(), self.count
        for day in self._every(first if left is not None else max(first, since), horizon(max(first, since))):
            if left == 0 or (self.until is not None and datetime.combine(day, self.start.time()) > self.until):
                return
            if left is not None:
                left -= 1
            if day >= since:
                yield day

    def _every(self, since: date, until: date) -> Iterator[date]:
        number = self._period(since)
        number -= number % self.interval
        while (begin := self._begin(number)) is not None and begin <= until:
            for day in self._chosen(begin):
                if since <= day <= until and day >= self.start.date():
                    yield day
            number += self.interval

    def _period(self, day: date) -> int:
        """Return how many periods after that of DTSTART the one of a day is."""
        first = self.start.date()
        match self.freq:
            case "DAILY":
                return (day - first).days
            case "WEEKLY":
                return (self._week(day) - self._week(first)).days // 7
            case "MONTHLY":
                return (day.year - first.year) * 12 + day.month - first.month
            case _:
                return day.year - first.year

    def _week(self, day: date) -> date:
        return day - timedelta(days=(day.isoweekday() - self.wkst) % 7)

    def _begin(self, number: int) -> date | None:
        """Return the first day of a period; None when it is past every calendar."""
        first = self.start.date()
        if self.freq in ("DAILY", "WEEKLY"):
            days = number if self.freq == "DAILY" else number * 7
            begin = first if self.freq == "DAILY" else self._week(first)
            return begin + timedelta(days=days) if days < (LAST - FIRST).days else None
        months = first.year * 12 + first.month - 1 + number if self.freq == "MONTHLY" else (first.year + number) * 12
        year, month = divmod(months, 12)
        return date(year, month + 1, 1) if year <= LAST.year else None

    def _chosen(self, begin: date) -> list[date]:
        found = sorted(self._candidates(begin))
        if not self.bysetpos:
            return found
        size = len(found)
        places = {place - 1 if place > 0 else size + place for place in self.bysetpos}
        return [found[place] for place in sorted(places) if 0 <= place < size]

    def _candidates(self, begin: date) -> set[date]:
        weekdays = {weekday for _, weekday in self.byday}
        match self.freq:
            case "DAILY":
                found = {begin}
                if weekdays:
                    found = {day for day in found if day.isoweekday() in weekdays}
                if self.bymonthday:
                    found &= self._monthdays(begin.year, begin.month)
            case "WEEKLY":
                week = {begin + timedelta(days=number) for number in range(7)}
                found = {day for day in week if day.isoweekday() in (weekdays or {self.start.isoweekday()})}
            case "MONTHLY":
                found = self._of_month(begin.year, begin.month)
            case _:
                found = self._of_year(begin.year)
        return {day for day in found if day.month in self.bymonth} if self.bymonth else found

    def _of_month(self, year: int, month: int) -> set[date]:
        if not self.byday:
            return self._monthdays(year, month)
        named = self._weekdays(date(year, month, 1), date(year, month, length(year, month)))
        return named & self._monthdays(year, month) if self.bymonthday else named

    def _of_year(self, year: int) -> set[date]:
        every = range(1, 13)
        if not self.byday:
            if not self.bymonth and not self.bymonthday:
                return self._monthdays(year, self.start.month)
            return set().union(*(self._monthdays(year, month) for month in self.bymonth or every))
        if self.bymonth:
            return set().union(*(self._of_month(year, month) for month in self.bymonth))
        named = self._weekdays(date(year, 1, 1), date(year, 12, 31))
        if self.bymonthday:
            named &= set().union(*(self._monthdays(year, month) for month in every))
        return named

    def _monthdays(self, year: int, month: int) -> set[date]:
        size = length(year, month)
        numbers = (number if number > 0 else size + 1 + number for number in self.bymonthday or (self.start.day,))
        return {date(year, month, number) for number in numbers if 0 < number <= size}

    def _weekdays(self, first: date, last: date) -> set[date]:
        found: set[date] = set()
        for which, weekday in self.byday:
            earliest = first + timedelta(days=(weekday - first.isoweekday()) % 7)
            every = [earliest + timedelta(days=7 * number) for number in range((last - earliest).days // 7 + 1)]
            place = which - 1 if which > 0 else which
            if which == 0:
                found.update(every)
            elif -len(every) <= place < len(every):
                found.add(every[place])
        return found


def parse(text: str, start: datetime, path: str) -> Rule:
    """Return a rule that begins at `start` (local), or raise WireError `InvalidSpec` naming `path`."""
    parts = _parts(text, path)
    freq = parts.get("FREQ", "")
    if freq not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise _wrong(path, f"FREQ={freq[:20]} is not DAILY, WEEKLY, MONTHLY or YEARLY", "cron says times within a day")
    byday = tuple(_byday(word, freq, path) for word in parts["BYDAY"].split(",")) if "BYDAY" in parts else ()
    rule = Rule(
        start=start,
        freq=freq,
        interval=_number(parts.get("INTERVAL", "1"), "INTERVAL", 1, MAX_INTERVAL, path),
        byday=byday,
        bymonthday=_numbers(parts, "BYMONTHDAY", -31, 31, path),
        bymonth=_numbers(parts, "BYMONTH", 1, 12, path),
        bysetpos=_numbers(parts, "BYSETPOS", -366, 366, path),
        count=_number(parts["COUNT"], "COUNT", 1, MAX_COUNT, path) if "COUNT" in parts else None,
        until=_until(parts["UNTIL"], path) if "UNTIL" in parts else None,
        wkst=_WEEKDAYS.get(parts.get("WKST", "MO"), 0),
    )
    if not rule.wkst:
        raise _wrong(path, "WKST is not a weekday")
    if rule.count is not None and rule.until is not None:
        raise _wrong(path, "COUNT and UNTIL exclude each other")
    if freq == "WEEKLY" and rule.bymonthday:
        raise _wrong(path, "BYMONTHDAY does not go with FREQ=WEEKLY")
    if rule.bysetpos and not (rule.byday or rule.bymonthday or rule.bymonth):
        raise _wrong(path, "BYSETPOS chooses among the days of another BY part")
    if rule.until is None and next(rule.days(start.date()), None) is None:
        raise _wrong(path, f"{text[:100]!r} never comes")
    return rule


def _parts(text: str, path: str) -> dict[str, str]:
    body = text.strip().upper().removeprefix("RRULE:")
    words = [word.partition("=") for word in body.split(";")] if len(text) <= MAX_TEXT else []
    parts = {name: value for name, _, value in words}
    unknown = sorted(name for name in parts if name not in _PARTS)
    if unknown or not words or len(parts) != len(words) or not all(parts.values()):
        wrong = f"{unknown[0][:20]!r} is not understood" if unknown else f"{text[:60]!r} is no rule"
        raise _wrong(path, wrong, f"FREQ=MONTHLY;BYDAY=2SU; understood are {', '.join(sorted(_PARTS))}")
    return parts


def _wrong(path: str, message: str, hint: str = "") -> WireError:
    return WireError(f"{path}: {message}", reason="InvalidSpec", hint=hint)


def _number(text: str, name: str, low: int, high: int, path: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", text) or not low <= int(text) <= high or int(text) == 0:
        raise _wrong(path, f"{name}={text[:20]} is not {low} to {high}")
    return int(text)


def _numbers(parts: dict[str, str], name: str, low: int, high: int, path: str) -> tuple[int, ...]:
    return tuple(_number(word, name, low, high, path) for word in parts[name].split(",")) if name in parts else ()


def _byday(word: str, freq: str, path: str) -> tuple[int, int]:
    found = _BYDAY.fullmatch(word)
    if found is None:
        raise _wrong(path, f"{word[:20]!r} is no day of BYDAY", "MO, 2TU (the second), -1FR (the last)")
    which = int(found[1]) if found[1] else 0
    if found[1] and (which == 0 or abs(which) > 53):
        raise _wrong(path, f"{word!r}: no such week")
    if which and freq in ("DAILY", "WEEKLY"):
        raise _wrong(path, f"{word!r}: a numbered weekday goes with MONTHLY and YEARLY")
    return which, _WEEKDAYS[found[2]]


def _until(text: str, path: str) -> datetime:
    found = _UNTIL.fullmatch(text)
    try:
        if found is None or found[3]:
            raise ValueError
        day = date.fromisoformat(found[1])
        at = time.fromisoformat(found[2]) if found[2] else time(23, 59, 59)
    except ValueError:
        hint = "local time, as the schedule's own: UNTIL=20271231 or UNTIL=20271231T235959"
        raise _wrong(path, f"UNTIL={text[:20]} is not understood", hint) from None
    return datetime.combine(day, at)
