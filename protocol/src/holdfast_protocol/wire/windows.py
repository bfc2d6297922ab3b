"""Maintenance windows as a target carries them: when which gates are open, for which resources. Read by hub and node.

`spec` is checked whole: a root agent must not half-understand when it may act.
"""

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.calendar import cron, durations, rule
from holdfast_protocol.calendar.cron import Cron
from holdfast_protocol.calendar.openings import DAY, Calendar, Span
from holdfast_protocol.calendar.rule import Rule
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.labels import is_dns_subdomain
from holdfast_protocol.wire.names import ResourceKey

FEATURE: Final = "windows/v1"
KIND: Final = "MaintenanceWindow"
MAX_WINDOWS: Final = 64  # at one site
MAX_ENTRIES: Final = 200  # of each list of a spec
MAX_WORD: Final = 320  # characters of a kind, a name, an instance
LONGEST: Final = 31 * DAY  # seconds one opening lasts
OFTEN: Final = 48  # openings a day
STARTS: Final = 1_000  # of them within the length of one: what opens so much more often than it closes is always open
MAX_MISSED: Final = 1_000
_STEPS: Final = re.compile(r"[A-Za-z]+|[0-9]+")
_AT: Final = re.compile(r" - at (?:key in )?`(spec[^`]*)`?$")
_ZONE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,3}")
_LOCAL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2})?")

Gate = Literal["targets", "drift", "downloads", "reboots"]
GATES: Final[tuple[Gate, ...]] = ("targets", "drift", "downloads", "reboots")
Measure = Literal["alert", "widen", "force"]


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`cron`, or `rrule` from `start` on; each time for `duration`. All local times of the window's zone."""

    duration: str
    cron: str = ""
    rrule: str = ""
    start: str = ""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Whole days, the last one included, or local times, the last moment not."""

    from_: str
    to: str


class Exceptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`open` wins over `closed`, and `closed` over the schedule."""

    closed: tuple[str | Range, ...] = ()
    open: tuple[str | Range, ...] = ()


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every list that is not empty must name the resource."""

    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()  # Kind/name

    def covers(self, key: ResourceKey, instance: str) -> bool:
        kind, _, rest = key.partition("/")
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.names or rest.rpartition("/")[2] in self.names)
            and (not self.instances or instance in self.instances)
        )


class Missed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """After so many openings in a row in which something due was not done. `alert` is part of the other two."""

    after: int
    then: Measure = "alert"
    by: str = ""  # for widen: how much longer an opening then lasts


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A MaintenanceWindow's spec, without its placement. A gate that no window of a site names is always open there."""

    schedule: Schedule
    gates: tuple[Gate, ...]
    time_zone: str = ""  # IANA; "" for the site's
    exceptions: Exceptions = Exceptions()
    match: Match = Match()
    missed: Missed | None = None  # None: missed openings are only counted


class Window(msgspec.Struct, frozen=True):
    """A checked window. `widened` is the calendar it follows once it was missed too often, the same for most."""

    name: str
    gates: tuple[Gate, ...]
    time_zone: str
    calendar: Calendar
    widened: Calendar
    match: Match
    missed: Missed | None


def check(name: str, spec: dict[str, Any]) -> Window:
    """Return the window a spec describes, or raise WireError `InvalidSpec` beginning with the path of what is wrong."""
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    if not given.gates:
        raise _wrong("spec.gates", "name at least one gate", ", ".join(GATES))
    if given.time_zone and not is_zone_name(given.time_zone):
        raise _wrong("spec.timeZone", f"{given.time_zone[:60]!r} is no IANA zone", "Europe/Berlin")
    lists = (
        (*given.exceptions.closed, *given.exceptions.open),
        given.match.kinds,
        given.match.names,
        given.match.instances,
    )
    if any(len(each) > MAX_ENTRIES for each in lists):
        raise _wrong("spec", f"a list of more than {MAX_ENTRIES} entries")
    if any(len(word) > MAX_WORD for words in lists[1:] for word in words):
        raise _wrong("spec.match", f"a word of more than {MAX_WORD} characters")
    recurrence = _recurrence(given.schedule)
    lasts = _lasts(given.schedule.duration, "spec.schedule.duration", recurrence)
    closed = tuple(_span(each, f"spec.exceptions.closed[{n}]") for n, each in enumerate(given.exceptions.closed))
    opened = tuple(_span(each, f"spec.exceptions.open[{n}]") for n, each in enumerate(given.exceptions.open))
    calendar = Calendar(recurrence, lasts, closed, opened)
    return Window(
        name=name,
        gates=tuple(gate for gate in GATES if gate in given.gates),
        time_zone=given.time_zone,
        calendar=calendar,
        widened=_widened(calendar, given.missed),
        match=given.match,
        missed=given.missed,
    )


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with a spec: the first thing that is, at its place."""
    try:
        check("window", spec)
    except WireError as error:
        place, _, message = error.message.partition(": ")
        steps = _STEPS.findall(place) if place.startswith("spec") else []
        if not place.startswith("spec"):  # msgspec says where at the end
            found = _AT.search(error.message)
            steps, message = _STEPS.findall(found[1]) if found else [], _AT.sub("", error.message)
        yield Flaw(tuple(int(step) if step.isdigit() else step for step in steps[1:]), message or place, error.hint)


def carried(entry: dict[str, Any]) -> Window:
    """Return a window as a target carries it, `name` beside its spec; raises WireError `BadWindow` or as `check`."""
    name = entry.get("name")
    if (
        not isinstance(name, str)
        or not is_dns_subdomain(name)
        or not isinstance(entry.get("spec"), dict)
        or len(entry) != 2
    ):
        raise WireError("a window of a target is its name and its spec", reason="BadWindow")
    return check(name, entry["spec"])


def carry(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return what a target carries of a checked window."""
    return {"name": name, "spec": spec}


def is_zone_name(text: str) -> bool:
    """Return whether `text` may name a zone; whether there is one is for who has the zones."""
    return len(text) <= 64 and _ZONE.fullmatch(text) is not None


def _recurrence(given: Schedule) -> Cron | Rule:
    if bool(given.cron) == bool(given.rrule):
        raise _wrong("spec.schedule", "needs cron or rrule, one of them")
    if given.cron:
        if given.start:
            raise _wrong("spec.schedule.start", "goes with rrule", "cron says its own times")
        return cron.parse(given.cron, "spec.schedule.cron")
    if not given.start:
        raise _wrong("spec.schedule.start", "a rule needs its first day and time", "2026-01-04T02:00")
    return rule.parse(given.rrule, _local(given.start, "spec.schedule.start"), "spec.schedule.rrule")


def _lasts(text: str, path: str, recurrence: Cron | Rule) -> int:
    lasts = durations.seconds(text, path)
    if lasts > LONGEST:
        raise _wrong(path, f"longer than {LONGEST // DAY} days")
    if len(recurrence.minutes) > OFTEN or len(recurrence.minutes) * lasts > STARTS * DAY:
        hint = "one that begins rarely and lasts longer, or no window"
        raise _wrong(path, f"opens more often than {OFTEN} times a day, or all the time", hint)
    return lasts


def _widened(calendar: Calendar, missed: Missed | None) -> Calendar:
    if missed is None:
        return calendar
    if not 0 < missed.after <= MAX_MISSED:
        raise _wrong("spec.missed.after", f"must be 1 to {MAX_MISSED}")
    if (missed.then == "widen") != bool(missed.by):
        raise _wrong("spec.missed.by", "widen needs how much, and nothing else does", "then: widen, by: 2h")
    if missed.then != "widen":
        return calendar
    lasts = calendar.seconds + durations.seconds(missed.by, "spec.missed.by")
    _lasts(f"{lasts}s", "spec.missed.by", calendar.recurrence)
    return msgspec.structs.replace(calendar, seconds=lasts)


def _span(given: str | Range, path: str) -> Span:
    first, last = (given, given) if isinstance(given, str) else (given.from_, given.to)
    start, end = _local(first, path), _local(last, path)
    if len(last) == len("2026-12-24"):
        end = datetime.combine(end.date() + timedelta(days=1), time())
    if start >= end:
        raise _wrong(path, f"ends before it begins: {first} to {last}")
    return Span(start, end)


def _local(text: str, path: str) -> datetime:
    try:
        if not _LOCAL.fullmatch(text):
            raise ValueError
        at = datetime.fromisoformat(text)
        if not 1971 <= at.year <= 2198:
            raise ValueError
    except ValueError:
        hint = "2026-12-24, or 2026-12-24T18:00; always the window's local time"
        raise _wrong(path, f"{text[:40]!r} is no day or local time", hint) from None
    return at


def _wrong(path: str, message: str, hint: str = "") -> WireError:
    return WireError(f"{path}: {message}", reason="InvalidSpec", hint=hint)
