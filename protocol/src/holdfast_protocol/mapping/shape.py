"""A rule's `shape`, checked: numbers of milliseconds instead of words."""

import math
from typing import Final

import msgspec

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.errors import WireError
from holdfast_protocol.mapping.rules import Aggregate, Shape

MAX_WINDOW: Final = 86_400  # seconds


class Windowing(msgspec.Struct, frozen=True):
    length: int  # milliseconds
    lateness: int
    aggregates: tuple[Aggregate, ...]


class Shaping(msgspec.Struct, frozen=True):
    """All in milliseconds. `deadband` is in the value's unit, or with `percent` a share of the last value sent; 0: none."""

    deadband: float = 0.0
    percent: bool = False
    every: int = 0
    heartbeat: int = 0
    window: Windowing | None = None


def shaping(shape: Shape | None, place: str) -> Shaping | None:
    """Return what a shape says, None when it says nothing. Raises WireError InvalidSpec naming `place`."""
    if shape is None:
        return None
    percent = shape.deadband.endswith("%")
    deadband = 0.0
    if shape.deadband:
        try:
            deadband = float(shape.deadband.removesuffix("%"))
        except ValueError:
            deadband = -1.0
        if not 0 < deadband < math.inf:
            raise _invalid(f"{place}.deadband", f"{shape.deadband[:40]!r} is not a number above 0, or one with %")
    every, heartbeat = _ms(shape.every, f"{place}.every"), _ms(shape.heartbeat, f"{place}.heartbeat")
    if heartbeat and not deadband:
        raise _invalid(f"{place}.heartbeat", "is for a deadband: without one everything is sent")
    if heartbeat and heartbeat < every:
        raise _invalid(f"{place}.heartbeat", "is shorter than every")
    window = None
    if shape.window is not None:
        if deadband or every or heartbeat:
            raise _invalid(f"{place}.window", "stands alone: its aggregates are what is sent")
        given = shape.window
        length = _ms(given.length, f"{place}.window.length")
        lateness = _ms(given.lateness, f"{place}.window.lateness") if given.lateness != "0s" else 0
        if not 0 < length <= MAX_WINDOW * 1000 or lateness > MAX_WINDOW * 1000:
            raise _invalid(f"{place}.window.length", "a window is of 1s to 1d, and so is its lateness")
        if not given.aggregates or len(set(given.aggregates)) != len(given.aggregates):
            raise _invalid(f"{place}.window.aggregates", "must name some, each once")
        window = Windowing(length, lateness, given.aggregates)
    if not (deadband or every or window):
        raise _invalid(place, "says nothing", "deadband, every or window")
    return Shaping(deadband, percent, every, heartbeat, window)


def _ms(text: str, place: str) -> int:
    return seconds(text, place) * 1000 if text else 0


def _invalid(place: str, message: str, hint: str = "") -> WireError:
    return WireError(f"{place}: {message}", reason="InvalidSpec", hint=hint)
