"""A Sparkplug payload opened, whatever its bytes: bounded, each metric for itself, values not looked at yet."""

import re
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from holdfast_edge.core.sparkplug import schema
from holdfast_protocol.mapping.values import Rejection, Unfit

MAX_PAYLOAD: Final = 1024 * 1024  # bytes
MAX_METRICS: Final = 5_000  # of one message
MAX_PROPERTIES: Final = 64  # looked at, of one metric
MAX_UNIT: Final = 32  # characters
MAX_SAID: Final = 4096  # bytes of a metric's own name
_UNITS: Final = frozenset({"engunit", "engunits", "engineering units", "unit", "units"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Metric(msgspec.Struct, frozen=True):
    """A metric as it came. `case` names the field its value stands in, "" for none."""

    name: str  # "": by alias
    alias: int  # -1: none
    time: int  # milliseconds since 1970; -1: the payload's
    datatype: int  # 0: as in the birth
    case: str
    raw: Any
    historical: bool
    transient: bool
    unit: str | None  # None: not said
    quality: str | None

    @property
    def said(self) -> str:
        """For messages to people."""
        return ascii(self.name[:80]) if self.name else f"alias {self.alias}"


class Payload(msgspec.Struct, frozen=True):
    time: int  # milliseconds since 1970; -1: not said
    sequence: int  # -1: none
    metrics: list[Metric]
    rejected: list[Rejection]  # metrics that could not be read


def opened(data: bytes) -> Payload:
    """Return a payload; raises Unfit `TooLarge`, `BadPayload`, `TooMany`."""
    if len(data) > MAX_PAYLOAD:
        raise Unfit("TooLarge", f"{len(data)} bytes, the limit is {MAX_PAYLOAD}")
    message = parsed(schema.Payload, data)
    if len(message.metrics) > MAX_METRICS:
        raise Unfit("TooMany", f"{len(message.metrics)} metrics, the limit is {MAX_METRICS}")
    metrics, rejected = metrics_of(message.metrics)
    time = message.timestamp if message.HasField("timestamp") else -1
    sequence = message.seq if message.HasField("seq") else -1
    return Payload(time, sequence, metrics, rejected)


def parsed(shape: Any, data: bytes) -> Any:
    """Return a message; raises Unfit `BadPayload`."""
    try:
        return shape.FromString(data)
    except (DecodeError, ValueError):
        raise Unfit("BadPayload", f"not a Sparkplug {shape.DESCRIPTOR.name}") from None


def metrics_of(parts: Any) -> tuple[list[Metric], list[Rejection]]:
    """Return the metrics that can be read, and why others cannot."""
    metrics, rejected = [], []
    for part in parts:
        try:
            metrics.append(_metric(parsed(schema.Metric, part)))
        except Unfit as unfit:
            rejected.append(unfit.rejection())
    return metrics, rejected


def parameters_of(parts: Any) -> tuple[list[Metric], list[Rejection]]:
    """Return a template's parameters as metrics of its time, and why others cannot be read."""
    metrics, rejected = [], []
    for part in parts:
        try:
            found = parsed(schema.Parameter, part)
            if not 0 < len(found.name) <= MAX_SAID:
                raise Unfit("BadName", f"a parameter's name of {len(found.name)} bytes")
            case = found.WhichOneof("value") or ""
            raw = getattr(found, case) if case else None
            metrics.append(Metric(text_of(found.name), -1, -1, found.type, case, raw, False, False, None, None))
        except Unfit as unfit:
            rejected.append(unfit.rejection())
    return metrics, rejected


def text_of(raw: bytes) -> str:
    """Return text; raises Unfit `BadText`."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unfit("BadText", "text is not UTF-8") from None


def _metric(message: Any) -> Metric:
    if len(message.name) > MAX_SAID:
        raise Unfit("BadName", f"a name of {len(message.name)} bytes")
    name = text_of(message.name)
    alias = message.alias if message.HasField("alias") else -1
    if not name and alias < 0:
        raise Unfit("BadName", "a metric with neither name nor alias")
    case = "" if message.is_null else message.WhichOneof("value") or ""
    unit, quality = _properties(message.properties) if message.properties else (None, None)
    return Metric(
        name,
        alias,
        message.timestamp if message.HasField("timestamp") else -1,
        message.datatype,
        case,
        getattr(message, case) if case else None,
        message.is_historical,
        message.is_transient,
        unit,
        quality,
    )


def _properties(data: bytes) -> tuple[str | None, str | None]:
    """Return unit and quality where they are said in a way we know; what else there is, is nobody's here."""
    unit, quality = None, None
    found = parsed(schema.PropertySet, data)
    for key, value in zip(found.keys[:MAX_PROPERTIES], found.values[:MAX_PROPERTIES], strict=False):
        match key.lower().decode("utf-8", "replace"):
            case "quality":
                number = parsed(schema.PropertyValue, value)
                case = number.WhichOneof("value")
                if case in ("int_value", "long_value") and not number.is_null:
                    quality = _quality(getattr(number, case))
            case name if name in _UNITS:
                text = parsed(schema.PropertyValue, value).string_value.decode("utf-8", "replace")
                unit = text if len(text) <= MAX_UNIT and not _CONTROL.search(text) else None
            case _:
                pass
    return unit, quality


def _quality(number: int) -> str:
    """Return ours for OPC's: 192 and up good, 64 and up uncertain; 500 is Sparkplug's stale."""
    if 192 <= number <= 255:
        return "good"
    return "uncertain" if number == 500 or 64 <= number < 128 else "bad"
