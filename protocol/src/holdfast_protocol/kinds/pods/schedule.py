"""When a CronJob is due: a cron expression by the wall of a time zone, as Kubernetes reads it.

Besides `calendar.cron`: @hourly and its like, and `?` for `*`. A time that the clocks skip is not due on that day; one that
comes twice is due the first time only, unless every hour is.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from holdfast_protocol.calendar import cron
from holdfast_protocol.errors import WireError

_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Schedule(msgspec.Struct, frozen=True):
    cron: cron.Cron
    zone: tzinfo = UTC

    def after(self, moment: float) -> float | None:
        """Return the first due time after `moment`; None when there is none in sight."""
        return next(self.following(moment), None)

    def following(self, moment: float) -> Iterator[float]:
        """Yield the due times after `moment`, in order; all in seconds since 1970."""
        # A day earlier, because a night in which the clocks go back lies on both sides of midnight's date.
        start = datetime.fromtimestamp(moment, self.zone).date() - timedelta(days=1)
        for day in self.cron.days(start):
            yield from (at for at in sorted(set(self._times(day))) if at > moment)

    def _times(self, day: date) -> Iterator[float]:
        every_hour = len({minute // 60 for minute in self.cron.minutes}) == 24
        for minute in self.cron.minutes:
            wall = datetime.combine(day, time(minute // 60, minute % 60))
            for fold in (0, 1) if every_hour else (0,):
                at = wall.replace(tzinfo=self.zone, fold=fold).timestamp()
                if datetime.fromtimestamp(at, self.zone).replace(tzinfo=None) == wall:  # else the clocks skip it
                    yield at


def schedule(text: str, zone: str = "") -> Schedule:
    """Return a parsed expression. Raises ValueError with what is wrong, also for a zone this machine does not know."""
    try:
        parsed = cron.parse(_MACROS.get(text.strip(), text).replace("?", "*"), "schedule")
    except WireError as error:
        raise ValueError(error.message.removeprefix("schedule: ")) from None
    return Schedule(parsed, _zone(zone) if zone else UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name[:80]!r} is not a time zone such as Europe/Paris") from None
