"""Missed openings: how many passed in a row while something due was not done, whatever the cause.

Off, not now, failing: an opening that began after the change was due, and has ended with the change still due, is missed.
Nothing due any more, and the count begins again; a newer target meanwhile does not, for it is the site's chance to
change that was missed.
"""

from datetime import tzinfo
from typing import Final

import msgspec

from holdfast_protocol.calendar.openings import openings
from holdfast_protocol.wire.windows import MAX_MISSED, Missed, Window

CAP: Final = 100  # counted where no number is asked for


class Misses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one window, kept. Times are seconds since 1970; `due_since` 0: nothing is due."""

    due_since: int = 0
    counted_to: int = 0
    count: int = 0
    said: bool = False  # the alarm of this row was raised


NONE: Final = Misses()


def is_over(missed: Missed | None, misses: Misses) -> bool:
    """Return whether so many were missed that the measure holds."""
    return missed is not None and misses.count >= missed.after


def counted(before: Misses, window: Window, zone: tzinfo | None, *, due: bool, now: int) -> Misses:
    """Return the count at `now`. An opening counts once, when it has ended."""
    if not due or zone is None:
        return NONE
    if before.due_since == 0 or now < before.counted_to:  # new, or the clock was set back
        return msgspec.structs.replace(before, due_since=now, counted_to=now)
    most = min(window.missed.after, MAX_MISSED) if window.missed else CAP
    count, upto = before.count, before.counted_to
    if count >= most:
        return before
    for opening in openings(window.calendar, zone, before.counted_to):
        if opening.end > now or count >= most:
            break
        upto = opening.end
        if opening.start >= before.due_since:
            count += 1
    return msgspec.structs.replace(before, counted_to=upto, count=count)


def jumped(before: Misses, now: int) -> Misses:
    """Return the count after the clock jumped: what was counted stays, what lies in the jump was nobody's chance."""
    if before.due_since == 0:
        return before
    return msgspec.structs.replace(before, due_since=now, counted_to=now)
