"""Sparkplug payloads made by us: what an edge node of ours says, and what a host of ours asks."""

from typing import Any, Final

from holdfast_edge.core.sparkplug import schema
from holdfast_edge.core.sparkplug.names import Topic
from holdfast_edge.core.sparkplug.values import BOOLEAN, DOUBLE, INT32, INT64, STRING
from holdfast_protocol.wire.readings import Value

REBIRTH: Final = "Node Control/Rebirth"
_INT64: Final = 1 << 64
_QUALITIES: Final = {"good": 192, "uncertain": 500}  # what is neither is bad: 0


def datatype_of(value: Value) -> int:
    """Return the type a value of ours has in Sparkplug."""
    match value:
        case bool():
            return BOOLEAN
        case int():
            return INT64
        case float():
            return DOUBLE
    return STRING


def metric(
    value: Value,
    time: int,
    *,
    name: str = "",
    alias: int | None = None,
    unit: str = "",
    quality: str = "good",
    historical: bool = False,
) -> bytes:
    """Return a metric: with its `name` (and type) in births, by `alias` only in data. `time` in milliseconds since 1970."""
    message = schema.Metric(timestamp=time)
    if name:
        message.name = name.encode()
        message.datatype = datatype_of(value)
    if alias is not None:
        message.alias = alias
    if historical:
        message.is_historical = True
    if unit or quality != "good":
        message.properties = _properties(unit, quality)
    _set(message, value)
    return bytes(message.SerializeToString())


def payload(time: int, metrics: list[bytes], sequence: int | None) -> bytes:
    """Return a payload; a death and a command have no sequence number."""
    message = schema.Payload(timestamp=time, metrics=metrics)
    if sequence is not None:
        message.seq = sequence
    return bytes(message.SerializeToString())


def rebirth_command(group: str, node: str, time: int) -> tuple[str, bytes]:
    """Return topic and payload of the request for an edge node's birth."""
    return str(Topic(group, "NCMD", node)), payload(time, [metric(True, time, name=REBIRTH)], None)


def _set(message: Any, value: Value) -> None:
    match value:
        case bool():
            message.boolean_value = value
        case int():
            message.long_value = value % _INT64
        case float():
            message.double_value = value
        case _:
            message.string_value = value.encode()


def _properties(unit: str, quality: str) -> bytes:
    found = schema.PropertySet()
    if unit:
        found.keys.append(b"engUnit")
        found.values.append(schema.PropertyValue(type=STRING, string_value=unit.encode()).SerializeToString())
    if quality != "good":
        number = schema.PropertyValue(type=INT32, int_value=_QUALITIES.get(quality, 0))
        found.keys.append(b"Quality")
        found.values.append(number.SerializeToString())
    return bytes(found.SerializeToString())
