"""Days: what every recurrence is to a calendar, local days and times of day. Work is bounded by a horizon."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final, Protocol

HORIZON: Final = 40  # years looked ahead: 29 February on one weekday comes at the latest after 40
FIRST: Final = date(1970, 1, 1)
LAST: Final = date(2199, 12, 31)
MONTHS: Final = dict(
    zip(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], range(1, 13), strict=True)
)


class Recurrence(Protocol):
    """Which local days, and at which minutes of each."""

    @property
    def minutes(self) -> tuple[int, ...]:
        """Minutes after midnight, ascending."""
        ...

    def days(self, since: date) -> Iterator[date]:
        """Yield its days from `since` on, ascending, for at most HORIZON years."""
        ...


def horizon(since: date) -> date:
    """Return the last day that is looked at from `since`."""
    return min(date(min(since.year + HORIZON, LAST.year), 12, 31), LAST)


def length(year: int, month: int) -> int:
    """Return how many days a month has."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - timedelta(days=1)).day


def months(since: date, until: date) -> Iterator[tuple[int, int]]:
    """Yield (year, month) from the month of one day to that of another."""
    year, month = since.year, since.month
    while (year, month) <= (until.year, until.month):
        yield year, month
        year, month = year + month // 12, month % 12 + 1
