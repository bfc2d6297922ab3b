"""Windows: which gates are open now, until when, and when next. Told the time; the zones come with the windows.

A gate is shut outside the windows that name it; one that no window names is always open. With a clock that is known to
be wrong nobody can say whether a window is open: then `targets`, `downloads` and `reboots` are shut and `drift` is open,
so that a machine that wakes in 1970 keeps what it runs and begins nothing new.
"""

from collections.abc import Sequence
from datetime import tzinfo
from itertools import islice
from typing import Final

import msgspec

from holdfast_edge.core.missed import Misses, is_over
from holdfast_protocol.calendar.openings import Opening, local_time, openings
from holdfast_protocol.wire.messages import GateStatus
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.windows import GATES, Gate, Window

UNTRUSTED: Final = "the clock is wrong (earlier than it can be): no window can be told"
NO_ZONE: Final = "window {name}: this machine does not know the time zone {zone}"


class Placed(msgspec.Struct, frozen=True):
    """A window at this site. `zone` is None when the machine has no such zone: it then never opens."""

    window: Window
    zone_name: str
    zone: tzinfo | None


class Standing(msgspec.Struct, frozen=True):
    """One window at a moment. `until` is in seconds since 1970: the end when it is open, the next start when it is not;
    None: never, as far as anybody can see. `forced`: it was missed too often, and counts as open until all is done."""

    placed: Placed
    open: bool
    until: int | None
    forced: bool = False

    @property
    def name(self) -> str:
        return self.placed.window.name

    def covers(self, gate: Gate, key: ResourceKey, instance: str) -> bool:
        window = self.placed.window
        return gate in window.gates and window.match.covers(key, instance)


class Verdict(msgspec.Struct, frozen=True):
    """Whether something may happen now. Open: until when (None: no end in sight). Shut: when next, and what to tell."""

    open: bool
    until: int | None = None
    message: str = ""
    trusted: bool = True


ALWAYS: Final = Verdict(True)


def standing(placed: Placed, misses: Misses, at: float) -> Standing:
    """Return one window at `at` (seconds since 1970), as its missed openings have it."""
    window = placed.window
    if placed.zone is None:
        return Standing(placed, False, None)
    over = is_over(window.missed, misses)
    if over and window.missed is not None and window.missed.then == "force":
        return Standing(placed, True, None, forced=True)
    first, second = _next_two(placed, placed.zone, at, widened=over)
    if first is None or first.start > at:
        return Standing(placed, False, first.start if first else None)
    end = second.end if second is not None and second.start == first.end else first.end
    return Standing(placed, True, end)


def _next_two(placed: Placed, zone: tzinfo, at: float, *, widened: bool) -> tuple[Opening | None, Opening | None]:
    calendar = placed.window.widened if widened else placed.window.calendar
    found: list[Opening | None] = list(islice(openings(calendar, zone, at), 2))
    first, second = (*found, None, None)[:2]
    return first, second


def verdict(
    standings: Sequence[Standing], gate: Gate, key: ResourceKey, instance: str, *, trusted: bool = True
) -> Verdict:
    """Return whether `gate` is open for a resource: when any window that names both is. `trusted`: the clock may be."""
    concerned = [each for each in standings if each.covers(gate, key, instance)]
    if not concerned:
        return ALWAYS
    if not trusted:
        return Verdict(gate == "drift", None, UNTRUSTED, trusted=False)
    if any(each.forced for each in concerned):
        return Verdict(True)
    if ends := [each.until for each in concerned if each.open]:
        return Verdict(True, max((end for end in ends if end is not None), default=None))
    return _shut(concerned)


def _shut(concerned: Sequence[Standing]) -> Verdict:
    opening = min((each for each in concerned if each.until is not None), key=_until, default=None)
    if opening is None:
        names = ", ".join(each.name for each in concerned)
        return Verdict(False, None, f"window {names} does not open again")
    return Verdict(False, opening.until, f"window {opening.name} opens {moment(opening)}")


def _until(each: Standing) -> int:
    return each.until or 0


def moment(each: Standing) -> str:
    """Return when a window opens or closes next, as people of its zone write it."""
    if each.until is None or each.placed.zone is None:
        return "never"
    return f"{local_time(each.until, each.placed.zone):%Y-%m-%d %H:%M} {each.placed.zone_name}"


def next_change(standings: Sequence[Standing]) -> int | None:
    """Return when the first window opens or closes, in seconds since 1970; None when none will."""
    return min((each.until for each in standings if each.until is not None), default=None)


def gate_statuses(standings: Sequence[Standing], *, trusted: bool) -> tuple[GateStatus, ...]:
    """Return for every gate that a window names whether it is open, which windows say so, and until when."""
    found = []
    for gate in GATES:
        concerned = [each for each in standings if gate in each.placed.window.gates]
        if not concerned:
            continue
        opened = [each for each in concerned if each.open]
        names = tuple(sorted(each.name for each in (opened or concerned)))
        if not trusted:
            found.append(GateStatus(gate, gate == "drift", names, message=UNTRUSTED))
            continue
        ends = [each.until for each in opened or concerned if each.until is not None]
        until = (max(ends) if opened else min(ends)) if ends and not any(each.forced for each in opened) else None
        shown = next((each for each in (opened or concerned) if each.until == until), concerned[0])
        word = "closes" if opened else "opens"
        message = "open until everything due is done" if opened and until is None else f"{word} {moment(shown)}"
        found.append(GateStatus(gate, bool(opened), names, (until or 0) * 1000, message))
    return tuple(found)
