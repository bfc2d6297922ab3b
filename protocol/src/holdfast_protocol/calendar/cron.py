"""Cron: five fields as in crontab(5), minute, hour, day of month, month, day of week.

Lists, ranges, steps and names. A day matches either day field when both are restricted (when neither begins with `*`),
and both otherwise; 0 and 7 are Sunday.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

import msgspec

from holdfast_protocol.calendar.days import MONTHS, horizon, length, months
from holdfast_protocol.errors import WireError

MAX_TEXT: Final = 200  # characters
_WEEKDAYS: Final = {name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])}
_FIELDS: Final[tuple[tuple[str, int, int, Mapping[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_TERM: Final = re.compile(r"(\*|[0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?(?:/([0-9]{1,2}))?")


class Cron(msgspec.Struct, frozen=True):
    """A checked schedule; `minutes` are of the day, `weekdays` 1 (Monday) to 7."""

    minutes: tuple[int, ...]
    monthdays: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool  # both day fields are restricted: one that matches is enough

    def days(self, since: date) -> Iterator[date]:
        """Yield the matching days from `since` on, ascending, as far as the horizon."""
        for year, month in months(since, horizon(since)):
            if month not in self.months:
                continue
            first = since.day if (year, month) == (since.year, since.month) else 1
            for number in range(first, length(year, month) + 1):
                day = date(year, month, number)
                found = (number in self.monthdays, day.isoweekday() in self.weekdays)
                if any(found) if self.either else all(found):
                    yield day


def parse(text: str, path: str) -> Cron:
    """Return a schedule, or raise WireError `InvalidSpec` naming `path`; one that never comes is refused too."""
    words = text.upper().split() if len(text) <= MAX_TEXT else []
    if len(words) != len(_FIELDS):
        hint = "minute, hour, day of month, month, day of week: 0 2 * * 1-5"
        raise WireError(f"{path}: {text[:80]!r} is not five fields", reason="InvalidSpec", hint=hint)
    parts = [_field(word, *field, path=path) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, monthdays, months_, weekdays = parts
    cron = Cron(
        tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
        monthdays,
        months_,
        frozenset(each or 7 for each in weekdays),
        not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if next(cron.days(date(2000, 1, 1)), None) is None:
        raise WireError(f"{path}: {text!r} never comes", reason="InvalidSpec", hint="no such day in these months")
    return cron


def _field(word: str, name: str, low: int, high: int, names: Mapping[str, int], *, path: str) -> frozenset[int]:
    found: set[int] = set()
    for term in word.split(","):
        match = _TERM.fullmatch(term)
        if match is None:
            raise WireError(f"{path}: {term[:40]!r} is no {name}", reason="InvalidSpec")
        first, last, step = match.groups()
        start = low if first == "*" else _number(first, names)
        end = high if first == "*" or (step and last is None) else _number(last or first, names)
        if (
            (first == "*" and last is not None)
            or not low <= start <= end <= high
            or (step and not 0 < int(step) <= high)
        ):
            raise WireError(f"{path}: {term!r} is no {name} ({low} to {high})", reason="InvalidSpec")
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: Mapping[str, int]) -> int:
    """Return a number or the number of a name; -1 for no such name."""
    return int(text) if text.isdigit() else names.get(text, -1)
