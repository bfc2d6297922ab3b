"""Shaping: what of a series is worth sending. Pure, bounded, by the device's own time.

A kill loses nothing that was acknowledged: open windows are committed with the message that grew them (`dump`). What a
deadband or a rate remembers is not kept, so after a start at most one reading a series is sent that need not be.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from holdfast_protocol.mapping.shape import Shaping, Windowing
from holdfast_protocol.wire.readings import Reading

MAX_SERIES: Final = 5_000  # remembered; a series that was forgotten is sent as if it were new
MAX_WINDOWS: Final = 1_000  # open; what would open another is sent as it is
_Key = tuple[int, str, str, str]  # rule, device, metric, unit


class Open(msgspec.Struct, array_like=True):
    """A window that still takes readings; times in milliseconds."""

    rule: int
    device: str
    metric: str
    unit: str
    start: int
    count: int
    low: float
    high: float
    total: float
    last: float
    last_time: int
    quality: str
    touched: int  # when a reading of it was received last
    length: int
    lateness: int
    aggregates: tuple[str, ...]


class Shaper:
    """Used by one source."""

    def __init__(self, dumped: bytes = b"") -> None:
        self._sent: dict[_Key, tuple[int, object, str]] = {}  # time, value and quality last sent; oldest use first
        opened = msgspec.msgpack.decode(dumped, type=list[Open]) if dumped else []
        self._open: dict[_Key, dict[int, Open]] = {}  # by the start of the window
        self._count = len(opened)
        for each in opened:
            self._open.setdefault(_series(each), {})[each.start] = each
        self._newest: dict[_Key, int] = {}  # of series with windows: the latest time seen
        for each in opened:
            self._newest[_series(each)] = max(each.last_time, self._newest.get(_series(each), 0))
        self._closed: dict[_Key, int] = {}  # end of the last window closed

    @property
    def has_windows(self) -> bool:
        return self._count > 0

    def dump(self) -> bytes:
        """Return the open windows, b"" when there are none."""
        opened = [each for series in self._open.values() for each in series.values()]
        return msgspec.msgpack.encode(opened) if opened else b""

    def shaped(self, rule: int, shaping: Shaping, readings: Iterable[Reading], received: int) -> list[Reading]:
        """Return what is to be sent now of a message's readings; `received` in milliseconds since 1970."""
        found: list[Reading] = []
        for reading in readings:
            key = (rule, reading.device, reading.metric, reading.unit)
            if shaping.window is not None:
                found += self._windowed(key, shaping.window, reading, received)
            elif self._is_due(key, shaping, reading):
                found.append(reading)
        return found

    def closed(self, received: int) -> list[Reading]:
        """Return the aggregates of windows whose series fell silent: nothing came for their length and lateness."""
        quiet = [
            (key, start)
            for key, series in self._open.items()
            for start, each in series.items()
            if received - each.touched > each.length + each.lateness or each.touched > received + each.length
        ]
        return [reading for key, start in quiet for reading in self._close(key, start)]

    # deadband and rate

    def _is_due(self, key: _Key, shaping: Shaping, reading: Reading) -> bool:
        held = self._sent.get(key)
        if held is not None:
            time, value, quality = held
            apart = abs(reading.time - time)
            if shaping.every and apart < shaping.every and quality == reading.quality:
                return False
            silent = shaping.heartbeat and apart >= shaping.heartbeat
            if shaping.deadband and not silent and quality == reading.quality and _is_near(shaping, value, reading):
                return False
        self._sent.pop(key, None)
        self._sent[key] = (reading.time, reading.value, reading.quality)
        if len(self._sent) > MAX_SERIES:
            del self._sent[next(iter(self._sent))]
        return True

    # windows

    def _windowed(self, key: _Key, window: Windowing, reading: Reading, received: int) -> Iterator[Reading]:
        value = reading.value
        if isinstance(value, str):
            yield reading
            return
        start = reading.time - reading.time % window.length
        if start < self._closed.get(key, start):
            yield reading  # too late for its window: sent as it is, so that nothing is lost
            return
        series = self._open.get(key)
        held = series.get(start) if series is not None else None
        number = float(value)
        if held is None:
            if self._count >= MAX_WINDOWS:
                yield reading
                return
            series = self._open.setdefault(key, {})
            self._count += 1
            series[start] = Open(
                *key, start, 1, number, number, number, number, reading.time, reading.quality, received,
                window.length, window.lateness, window.aggregates,
            )  # fmt: skip
        else:
            held.count += 1
            held.low, held.high = min(held.low, number), max(held.high, number)
            held.total += number
            if reading.time >= held.last_time:
                held.last, held.last_time = number, reading.time
            held.quality = _worse(held.quality, reading.quality)
            held.touched = received
        newest = self._newest[key] = max(reading.time, self._newest.get(key, 0))
        for other in sorted(self._open[key]):
            if other + window.length + window.lateness <= newest:
                yield from self._close(key, other)

    def _close(self, key: _Key, start: int) -> Iterator[Reading]:
        held = self._open[key].pop(start)
        self._count -= 1
        if not self._open[key]:
            del self._open[key]
        end = max(held.start + held.length, self._closed.pop(key, 0))
        self._closed[key] = end
        if len(self._closed) > MAX_SERIES:
            oldest = next(iter(self._closed))
            del self._closed[oldest]
            self._newest.pop(oldest, None)
        values: dict[str, float | int] = {
            "min": held.low,
            "max": held.high,
            "mean": held.total / held.count,
            "count": held.count,
            "last": held.last,
        }
        for name in held.aggregates:
            unit = "" if name == "count" else held.unit
            metric = f"{held.metric[:122]}.{name}"
            yield Reading(held.device, metric, held.start, values[name], unit, held.quality)


def _series(each: Open) -> _Key:
    return (each.rule, each.device, each.metric, each.unit)


def _is_near(shaping: Shaping, sent: object, reading: Reading) -> bool:
    value = reading.value
    if isinstance(value, bool | str) or isinstance(sent, bool | str):
        return type(value) is type(sent) and value == sent
    assert isinstance(sent, int | float)
    band = abs(sent) * shaping.deadband / 100 if shaping.percent else shaping.deadband
    return abs(value - sent) <= band


def _worse(one: str, other: str) -> str:
    order = ("good", "uncertain", "bad")
    return max(one, other, key=lambda each: order.index(each) if each in order else 2)
