"""Retention: how long the hub keeps readings of some sites. What no Retention selects is kept for ever.

Of several that select a reading the longest age counts, and the newest reading of a series is never taken away.
"""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from holdfast_protocol.calendar import durations
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.topics import STREAM_CLASSES

KIND: Final = "Retention"
MAX_PATTERNS: Final = 200
MAX_PATTERN: Final = 256  # characters
SHORTEST: Final = 60  # seconds
_FIELD: Final = re.compile(r" - at (?:key in )?`\$\.?([^`]*)`$")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`devices` and `metrics` are patterns with `*`; an empty list means any, as with `classes`."""

    max_age: str
    devices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def read(spec: dict[str, Any]) -> Spec:
    """Return a spec that `flaws` found nothing in."""
    return msgspec.convert(spec, Spec)


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a Retention's spec, without its placement."""
    try:
        wanted = read(spec)
    except msgspec.ValidationError as error:
        place = _FIELD.search(str(error))
        yield Flaw(tuple(place[1].split(".")) if place else (), _FIELD.sub("", str(error)))
        return
    try:
        if durations.seconds(wanted.max_age, "maxAge") < SHORTEST:
            yield Flaw(("maxAge",), f"must be at least {SHORTEST} seconds")
    except WireError as error:
        yield Flaw(("maxAge",), error.message, hint=error.hint)
    for key, patterns in (("devices", wanted.devices), ("metrics", wanted.metrics)):
        if len(patterns) > MAX_PATTERNS or any(not 0 < len(each) <= MAX_PATTERN for each in patterns):
            yield Flaw((key,), f"at most {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN} characters")
        if any("[" in each or "?" in each for each in patterns):
            yield Flaw((key,), "of patterns only * is understood")
    if set(wanted.classes) - set(STREAM_CLASSES):
        yield Flaw(("classes",), f"must be of {', '.join(STREAM_CLASSES)}")


def ages(specs: Iterable[Spec], device: str, metric: str) -> dict[str, int]:
    """Return for how many milliseconds readings of a device's metric are kept, by class; those kept for ever are not in it."""
    found: dict[str, int] = {}
    for spec in specs:
        if _selects(spec.devices, device) and _selects(spec.metrics, metric):
            age = durations.seconds(spec.max_age, "maxAge") * 1000
            for name in spec.classes or STREAM_CLASSES:
                found[name] = max(found.get(name, 0), age)
    return found


def _selects(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
