"""The plain convention: `{device}/{metric}` with one value, or `{device}` with a flat object of them.

A value is a JSON number, boolean or text, alone or as {"value": …, "time": …, "unit": …, "quality": …}.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.mapping.compiled import Map, Taken
from holdfast_protocol.mapping.formats import MAX_PAYLOAD, json_value
from holdfast_protocol.mapping.values import (
    MAX_METRICS,
    Rejection,
    Unfit,
    milliseconds,
    named,
    quality_of,
    unit_of,
    value_of,
)
from holdfast_protocol.wire.readings import Reading

TOPICS: Final = 8192  # remembered, with what they name


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


def plain(topics: Iterable[str]) -> Map:
    """Return the mapping of one message by this convention below `topics`. Raises InputError for those that name no device."""
    heads = prefixes(topics)

    def map_(topic: str, payload: bytes, received: int) -> Taken | Rejection:
        found = readings_of(topic, payload, received, heads=heads)
        return found if isinstance(found, Rejection) else Taken(0, found)

    return map_


def readings_of(
    topic: str, payload: bytes, received: int, *, heads: tuple[str, ...] = ("devices/",)
) -> list[Reading] | Rejection:
    """Return the readings of one message; `received` (milliseconds since 1970) is their time unless they say one.

    `heads` are `prefixes` of the subscriptions. One unfit value rejects the whole message.
    """
    try:
        device, metric = _names(topic, heads)
        if not payload:
            raise Unfit("Empty", "no payload")
        if len(payload) > MAX_PAYLOAD:
            raise Unfit("TooLarge", f"{len(payload)} bytes, the limit is {MAX_PAYLOAD}")
        content = json_value(payload)
        return [single(device, metric, content, received)] if metric else _flat(device, content, received)
    except Unfit as unfit:
        return unfit.rejection()


def single(device: str, metric: str, content: Any, received: int) -> Reading:
    """Return the reading of one value, alone or in an object. Raises Unfit."""
    if type(content) is not dict:
        return Reading(device, metric, received, value_of(metric, content))
    if "value" not in content:
        raise Unfit("NoValue", f"{metric} has no value")
    value = value_of(metric, content["value"])
    unit, quality = content.get("unit"), content.get("quality", "good")
    time = milliseconds(content.get("time"), received)
    return Reading(device, metric, time, value, unit_of(unit), quality if quality == "good" else _quality(quality))


@lru_cache(maxsize=TOPICS)
def _names(topic: str, heads: tuple[str, ...]) -> tuple[str, str]:
    for head in heads:
        if topic.startswith(head):
            device, _, metric = topic[len(head) :].partition("/")
            if "/" in metric or (not metric and topic.endswith("/")):
                break
            return named("device", device), named("metric", metric) if metric else ""
    raise Unfit("BadTopic", "a topic is {device} or {device}/{metric} below its prefix")


def _flat(device: str, content: Any, received: int) -> list[Reading]:
    if not isinstance(content, dict):
        raise Unfit("BadValue", "a value without a metric; the topic names the device only")
    if len(content) > MAX_METRICS:
        raise Unfit("TooMany", f"{len(content)} metrics, the limit is {MAX_METRICS}")
    time = milliseconds(content.get("time"), received)
    found = [
        Reading(device, named("metric", metric), time, value_of(metric, value))
        for metric, value in content.items()
        if metric != "time" and value is not None  # null: the device has nothing to say of this one now
    ]
    if not found:
        raise Unfit("NoValue", "no metric has a value")
    return found


def _quality(quality: Any) -> str:
    if quality is None:
        raise Unfit("BadQuality", "quality null is none of good, uncertain, bad")
    return quality_of(quality)
