"""Metered links: how many bytes of history may go in a day, and when. Pure. What is fresh, and every report, goes always."""

from datetime import UTC, tzinfo
from typing import Final

import msgspec

from holdfast_protocol.calendar import cron, durations
from holdfast_protocol.calendar.openings import Calendar, openings
from holdfast_protocol.errors import WireError

AWAY: Final = 3600.0  # seconds until asked again when a schedule has no next opening


class Metered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[metered]` of edge.toml. A day is 24 hours of this node's running; a schedule goes by its wall clock."""

    bytes_per_day: int = 0  # of telemetry that waited for the link; 0: no bound
    schedule: str = ""  # cron: when such telemetry may begin to go; "": at any time
    duration: str = "1h"  # how long it may from then on
    time_zone: str = "UTC"


class Allowance(msgspec.Struct, frozen=True):
    """Whether history may go now; if not, why, and after how many seconds to ask again."""

    allowed: bool
    left: int | None = None  # bytes of the day's budget; None: no bound
    again: float = 0.0
    why: str = ""


def calendar(metered: Metered) -> Calendar | None:
    """Return when history may go, None for always. Raises WireError naming the key that is wrong."""
    if not metered.schedule:
        return None
    return Calendar(cron.parse(metered.schedule, "schedule"), durations.seconds(metered.duration, "duration"))


def allowance(
    metered: Metered, when: Calendar | None, zone: tzinfo | None, *, now: float, spent: int, day_left: float
) -> Allowance:
    """Judge at `now` (seconds since 1970), after `spent` bytes of a day that has `day_left` seconds to go."""
    left = max(metered.bytes_per_day - spent, 0) if metered.bytes_per_day else None
    if left == 0:
        return Allowance(False, 0, max(day_left, 1.0), "the day's budget is spent")
    if when is None:
        return Allowance(True, left)
    opening = next(openings(when, zone or UTC, now), None)
    if opening is None:
        return Allowance(False, left, AWAY, "the schedule never opens again")
    if opening.start <= now:
        return Allowance(True, left)
    return Allowance(False, left, opening.start - now, "outside the schedule")


def problem(metered: Metered, *, zone_known: bool) -> str:
    """Return what is wrong with the settings, "" when nothing is."""
    if metered.bytes_per_day < 0:
        return "bytes_per_day must be 0 or more"
    if not zone_known:
        return f"time_zone: {metered.time_zone[:80]!r} is not known here"
    try:
        calendar(metered)
    except WireError as error:
        return error.message
    return ""
