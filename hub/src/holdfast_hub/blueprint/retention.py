"""Retention: how long the hub keeps readings of some sites, how much of them, and which coarser copies it makes.

What no Retention selects is kept for ever. Of several that select a reading, or a coarser copy, the longest age counts;
each bound in bytes counts by itself, at each site. The newest reading of a series is never taken away.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from holdfast_protocol.calendar import durations
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.misfits import misfits
from holdfast_protocol.kinds.pods import quantities
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.topics import STREAM_CLASSES

KIND: Final = "Retention"
MAX_PATTERNS: Final = 200
MAX_PATTERN: Final = 256  # characters
SHORTEST: Final = 60  # seconds
FEWEST: Final = 1024 * 1024  # bytes
MAX_TIERS: Final = 4
LONGEST: Final = 366 * 86_400  # seconds of a span


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A coarser copy: what the readings of each `every` came to. `max_age` "": kept for ever."""

    every: str
    max_age: str = ""


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`devices` and `metrics` are patterns with `*`; an empty list means any, as with `classes`.

    `max_bytes` bounds the readings it selects at each site, a quantity such as 10Gi. "": not bounded."""

    max_age: str = ""
    max_bytes: str = ""
    tiers: tuple[Tier, ...] = ()
    devices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def read(spec: dict[str, Any]) -> Spec:
    """Return a spec that `flaws` found nothing in."""
    return msgspec.convert(spec, Spec)


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a Retention's spec, without its placement."""
    if found := misfits(spec, Spec):
        yield from found
        return
    wanted = read(spec)
    if not (wanted.max_age or wanted.max_bytes or wanted.tiers):
        yield Flaw((), "says nothing: at least one of maxAge, maxBytes and tiers", hint="maxAge: 30d")
    if wanted.max_age:
        yield from _duration(wanted.max_age, ("maxAge",))
    if wanted.max_bytes:
        yield from _room(wanted.max_bytes)
    yield from _tiers(wanted)
    for key, patterns in (("devices", wanted.devices), ("metrics", wanted.metrics)):
        if len(patterns) > MAX_PATTERNS or any(not 0 < len(each) <= MAX_PATTERN for each in patterns):
            yield Flaw((key,), f"at most {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN} characters")
        if any("[" in each or "?" in each for each in patterns):
            yield Flaw((key,), "of patterns only * is understood")
    if set(wanted.classes) - set(STREAM_CLASSES):
        yield Flaw(("classes",), f"must be of {', '.join(STREAM_CLASSES)}")


def _duration(text: str, path: tuple[str | int, ...]) -> Iterator[Flaw]:
    try:
        if durations.seconds(text, str(path[-1])) < SHORTEST:
            yield Flaw(path, f"must be at least {SHORTEST} seconds")
    except WireError as error:
        yield Flaw(path, error.message, hint=error.hint)


def _room(text: str) -> Iterator[Flaw]:
    try:
        if not FEWEST <= quantities.whole_bytes(text) < 2**63:
            yield Flaw(("maxBytes",), "must be 1Mi to 8Ei")
    except ValueError as error:
        yield Flaw(("maxBytes",), str(error), hint="10Gi")


def _tiers(wanted: Spec) -> Iterator[Flaw]:
    if wanted.tiers and wanted.classes:
        yield Flaw(("tiers",), "a coarser copy is of a metric whatever its class", hint="another Retention for classes")
    if len(wanted.tiers) > MAX_TIERS:
        yield Flaw(("tiers",), f"at most {MAX_TIERS}")
    before = age_before = 0
    for number, tier in enumerate(wanted.tiers):
        path = ("tiers", number)
        found = [*_duration(tier.every, (*path, "every"))]
        found += _duration(tier.max_age, (*path, "maxAge")) if tier.max_age else ()
        yield from found
        if found:
            continue
        every = durations.seconds(tier.every, "every")
        if every > LONGEST:
            yield Flaw((*path, "every"), f"must be at most {LONGEST // 86_400}d")
        if before and (every <= before or every % before):
            yield Flaw((*path, "every"), "must be a multiple of that of the tier before it", hint="1m, then 1h")
        age = durations.seconds(tier.max_age, "maxAge") if tier.max_age else LONGEST * 10_000
        if age < age_before:
            yield Flaw((*path, "maxAge"), "must not be shorter than that of the tier before it")
        before, age_before = every, age


def ages(specs: Iterable[Spec], device: str, metric: str) -> dict[str, int]:
    """Return for how many milliseconds readings of a device's metric are kept, by class; those kept for ever are not in it."""
    found: dict[str, int] = {}
    for spec in specs:
        if spec.max_age and selects(spec, device, metric):
            age = durations.seconds(spec.max_age, "maxAge") * 1000
            for name in spec.classes or STREAM_CLASSES:
                found[name] = max(found.get(name, 0), age)
    return found


def tiers(specs: Iterable[Spec], device: str, metric: str) -> dict[int, int]:
    """Return for how many milliseconds coarser copies of a device's metric are kept, by their length in milliseconds, 0
    for ever."""
    found: dict[int, int] = {}
    for spec in specs:
        for tier in spec.tiers if selects(spec, device, metric) else ():
            every = durations.seconds(tier.every, "every") * 1000
            age = durations.seconds(tier.max_age, "maxAge") * 1000 if tier.max_age else 0
            held = found.get(every, age)
            found[every] = max(held, age) if held and age else 0
    return found


def room(spec: Spec) -> int:
    """Return the bound in bytes, 0 for none."""
    return quantities.whole_bytes(spec.max_bytes) if spec.max_bytes else 0


def selects(spec: Spec, device: str, metric: str) -> bool:
    """Return whether readings of a device's metric are meant, of the classes it names."""
    return _among(spec.devices, device) and _among(spec.metrics, metric)


def _among(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
