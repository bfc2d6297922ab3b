"""Rules: which topic and payload become readings of which device and metric. Written as text, compiled before use.

The first rule whose pattern and condition fit takes the message; a message that none takes is rejected. Everything is
checked when the rules are compiled, at the hub when they are applied and at the site again.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from holdfast_protocol.mapping.values import TimeUnit

MAX_RULES: Final = 100
Class = Literal["p1", "p2", "p3"]
Type = Literal["", "number", "integer", "boolean", "text"]
Aggregate = Literal["min", "max", "mean", "count", "last"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a number may be, after scaling. `outside`: the quality it has then, or that the message is rejected."""

    min: float | None = None
    max: float | None = None
    outside: Literal["uncertain", "bad", "reject"] = "bad"


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readings of a stretch of the device's time become these of it: METRIC.min and so on."""

    length: str  # 10s, 1m, 1h
    aggregates: tuple[Aggregate, ...] = ("min", "max", "mean", "count")
    lateness: str = "5s"  # how long after its end a window still takes what belongs to it


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What of a series is worth sending."""

    deadband: str = ""  # "0.5", or "2%" of the last value sent: less of a change is not sent
    every: str = ""  # at most one in this time: 10s
    heartbeat: str = ""  # sent after this time, changed or not: 10m
    window: Window | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written. `each` names a list or map in the message: the rule then makes a reading of each item of it."""

    match: str = "#"
    when: str = ""
    drop: bool = False  # what it takes is none of our business: no reading, no rejection
    each: str = ""
    device: str = "${topic.device}"
    metric: str = "${topic.metric}"
    value: str = "${payload}"
    unit: str = ""
    time: str = ""  # "": when it was received
    time_unit: TimeUnit = "ms"
    quality: str = ""
    type: Type = ""  # what the value is made into; "": what the message has it as
    scale: float = 1.0
    offset: float = 0.0  # value * scale + offset
    range: Range | None = None
    class_: Annotated[Class, msgspec.Meta(description="the stream: p3 telemetry, p2 events, p1 state")] = msgspec.field(
        default="p3", name="class"
    )
    ttl: str = ""  # how long its readings are worth sending, by the time the node runs: 7d; "": for ever
    shape: Shape | None = None


Rules = Sequence[Rule]
