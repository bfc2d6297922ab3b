"""What a reading may be made of. Everything here comes from strangers: it is checked, or it is unfit with a reason."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.wire.readings import Value

MAX_METRICS: Final = 256  # of one message of the plain convention
MAX_TEXT: Final = 1024  # characters of a value
MAX_UNIT: Final = 32
QUALITIES: Final = ("good", "uncertain", "bad")
END_OF_TIME: Final = 253_402_300_800_000  # milliseconds since 1970: the year 10000
TimeUnit = Literal["ms", "s", "us", "ns"]
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_TO_MS: Final[Mapping[TimeUnit, float]] = {"ms": 1, "s": 1000, "us": 1 / 1000, "ns": 1 / 1_000_000}


class Rejection(msgspec.Struct, frozen=True):
    """Why a message is no reading. `reason` is one of a few CamelCase words; `place` the path in the rules, "" without."""

    reason: str
    message: str
    place: str = ""


class Unfit(Exception):
    """Something of a message is not what it must be. `place`: the field of the rule that read it."""

    def __init__(self, reason: str, message: str, place: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.place = place

    def rejection(self) -> Rejection:
        return Rejection(self.reason, str(self), self.place)


def named(what: str, text: Any) -> str:
    """Return the name of a device or metric, or raise Unfit."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise Unfit("BadName", f"{what} {str(text)[:80]!r} is not 1 to 128 of letters, digits and _ . : @ -")
    return text


def value_of(metric: str, value: Any, *, longest: int = MAX_TEXT) -> Value:
    """Return a value that can be stored, or raise Unfit. `longest`: characters of a text."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise Unfit("BadNumber", f"{metric[:128]}: {value} is not a number a reading can carry")
        return float(value)
    if kind is int:
        if not -(2**63) <= value < 2**63:
            raise Unfit("BadNumber", f"{metric[:128]}: an integer that does not fit 64 bits")
        return int(value)
    if kind is bool:
        return bool(value)
    if kind is not str:
        raise Unfit("BadValue", f"{metric[:128]}: neither a number nor a boolean nor text")
    if "\0" in value:
        raise Unfit("BadText", f"{metric[:128]}: text with a NUL, which no database takes")
    if len(value) > longest:
        raise Unfit("TooLarge", f"{metric[:128]}: {len(value)} characters, the limit is {longest}")
    return str(value)


def milliseconds(time: Any, received: int, unit: TimeUnit = "ms") -> int:
    """Return a device's time in milliseconds since 1970; None is the time of receipt. Raises Unfit `BadTime`."""
    if type(time) is int and unit == "ms" and 0 <= time < END_OF_TIME:
        return time  # as nearly all are
    match time:
        case None:
            return received
        case bool():
            pass
        case int() | float() if 0 <= time < math.inf and _is_whole(time, unit):
            scaled = int(time * _TO_MS[unit])
            if scaled < END_OF_TIME:
                return scaled
        case str() if len(time) <= 40 and _RFC3339.fullmatch(time):
            return _written(time)
    raise Unfit("BadTime", f"time {str(time)[:40]!r} is neither {unit} since 1970 nor RFC 3339")


def _is_whole(time: float, unit: TimeUnit) -> bool:
    return unit != "ms" or time == int(time)


def _written(text: str) -> int:
    try:
        found = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise Unfit("BadTime", f"there is no time {text!r}") from None
    if not 0 <= found < END_OF_TIME:
        raise Unfit("BadTime", f"{text!r} is out of range")
    return found


def unit_of(unit: Any) -> str:
    """Return a unit; None is none. Raises Unfit `BadUnit`."""
    if unit is None:
        return ""
    if not isinstance(unit, str) or len(unit) > MAX_UNIT or not unit.isprintable():
        raise Unfit("BadUnit", f"unit {str(unit)[:40]!r} is not text of at most {MAX_UNIT} characters")
    return unit


def quality_of(quality: Any) -> str:
    """Return a quality; None is good. Raises Unfit `BadQuality`."""
    if quality is None:
        return "good"
    if quality not in QUALITIES:
        raise Unfit("BadQuality", f"quality {str(quality)[:40]!r} is none of {', '.join(QUALITIES)}")
    return str(quality)
