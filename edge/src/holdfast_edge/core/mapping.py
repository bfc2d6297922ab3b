"""What devices publish, as readings: `{device}/{metric}` with one value, or `{device}` with a flat object of them.

A value is a JSON number, boolean or text, alone or as {"value": …, "time": …, "unit": …, "quality": …}. Everything here
comes from strangers: whatever the bytes, the answer is readings or a rejection with its reason.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import InputError, Problem, WireError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.readings import Reading, Value

MAX_PAYLOAD: Final = 64 * 1024  # bytes
MAX_METRICS: Final = 256  # of one message
MAX_TEXT: Final = 1024  # characters of a value
MAX_UNIT: Final = 32
QUALITIES: Final = ("good", "uncertain", "bad")
END_OF_TIME: Final = 253_402_300_800_000  # milliseconds since 1970: the year 10000
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Rejection(msgspec.Struct, frozen=True):
    """Why a message is no reading. `reason` is one of a few CamelCase words."""

    reason: str
    message: str


class _Unfit(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def prefixes(filters: Iterable[str]) -> tuple[str, ...]:
    """Return what precedes the device in topics of these subscription filters, longest first; raises InputError."""
    found, problems = [], []
    for pattern in filters:
        head, wildcard, tail = pattern.partition("#")
        if wildcard and not tail and "+" not in head and (not head or head.endswith("/")):
            found.append(head)
        else:
            problems.append(
                Problem(f"{pattern!r} does not say where a device stands", path="devices.topics", hint="devices/#")
            )
    if problems:
        raise InputError(problems)
    return tuple(sorted(found, key=len, reverse=True))


def readings_of(
    topic: str, payload: bytes, received: int, *, heads: tuple[str, ...] = ("devices/",)
) -> list[Reading] | Rejection:
    """Return the readings of one message; `received` (milliseconds since 1970) is their time unless they say one.

    `heads` are `prefixes` of the subscriptions. One unfit value rejects the whole message.
    """
    try:
        device, metric = _names(topic, heads)
        if not payload:
            raise _Unfit("Empty", "no payload")
        content = strict.parse(payload, limit=MAX_PAYLOAD)
        return [_single(device, metric, content, received)] if metric else _flat(device, content, received)
    except WireError as error:
        return Rejection(error.reason, error.message)
    except _Unfit as unfit:
        return Rejection(unfit.reason, str(unfit))


def _names(topic: str, heads: tuple[str, ...]) -> tuple[str, str]:
    for head in heads:
        if topic.startswith(head):
            device, _, metric = topic[len(head) :].partition("/")
            if "/" in metric or (not metric and topic.endswith("/")):
                break
            return _name("device", device), _name("metric", metric) if metric else ""
    raise _Unfit("BadTopic", "a topic is {device} or {device}/{metric} below its prefix")


def _name(what: str, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _Unfit("BadName", f"{what} {text[:80]!r} is not 1 to 128 of letters, digits and _ . : @ -")
    return text


def _single(device: str, metric: str, content: Any, received: int) -> Reading:
    if not isinstance(content, dict):
        return Reading(device, metric, received, _value(metric, content))
    if "value" not in content:
        raise _Unfit("NoValue", f"{metric} has no value")
    value = _value(metric, content["value"])
    return Reading(device, metric, _time(content, received), value, _unit(content), _quality(content))


def _flat(device: str, content: Any, received: int) -> list[Reading]:
    if not isinstance(content, dict):
        raise _Unfit("BadValue", "a value without a metric; the topic names the device only")
    if len(content) > MAX_METRICS:
        raise _Unfit("TooMany", f"{len(content)} metrics, the limit is {MAX_METRICS}")
    time = _time(content, received)
    found = [
        Reading(device, _name("metric", metric), time, _value(metric, value))
        for metric, value in content.items()
        if metric != "time" and value is not None  # null: the device has nothing to say of this one now
    ]
    if not found:
        raise _Unfit("NoValue", "no metric has a value")
    return found


def _value(metric: str, value: Any) -> Value:
    match value:
        case bool() | int() | float():  # strict JSON has none that is infinite or too large
            return value
        case str() if "\0" in value:
            raise _Unfit("BadText", f"{metric[:128]}: text with a NUL, which no database takes")
        case str() if len(value) <= MAX_TEXT:
            return value
        case str():
            raise _Unfit("TooLarge", f"{metric[:128]}: {len(value)} characters, the limit is {MAX_TEXT}")
    raise _Unfit("BadValue", f"{metric[:128]}: neither a number nor a boolean nor text")


def _time(content: Mapping[str, Any], received: int) -> int:
    time = content.get("time")
    match time:
        case None:
            return received
        case bool():
            pass
        case int() | float() if 0 <= time < END_OF_TIME and time == int(time):
            return int(time)
        case str() if len(time) <= 40 and _RFC3339.fullmatch(time):
            return _milliseconds(time)
    raise _Unfit("BadTime", f"time {str(time)[:40]!r} is neither milliseconds since 1970 nor RFC 3339")


def _milliseconds(text: str) -> int:
    try:
        found = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise _Unfit("BadTime", f"there is no time {text!r}") from None
    if not 0 <= found < END_OF_TIME:
        raise _Unfit("BadTime", f"{text!r} is out of range")
    return found


def _unit(content: Mapping[str, Any]) -> str:
    unit = content.get("unit")
    if unit is None:
        return ""
    if not isinstance(unit, str) or len(unit) > MAX_UNIT or not unit.isprintable():
        raise _Unfit("BadUnit", f"unit {str(unit)[:40]!r} is not text of at most {MAX_UNIT} characters")
    return unit


def _quality(content: Mapping[str, Any]) -> str:
    quality = content.get("quality", "good")
    if quality not in QUALITIES:
        raise _Unfit("BadQuality", f"quality {str(quality)[:40]!r} is none of {', '.join(QUALITIES)}")
    return str(quality)
