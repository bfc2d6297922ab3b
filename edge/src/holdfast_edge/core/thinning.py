"""Fewer readings instead of none: what is left of old telemetry when there is no room for all of it. Pure.

The rule: of every eight readings of a series that follow each other, in the order they were committed, the smallest
and the largest stay, each with its own time; of flags and texts the first and the last. Nothing is computed that was not
measured, and peaks stay.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from holdfast_protocol.wire.readings import Series

RUN: Final = 8


def thinned(series: Sequence[Series]) -> list[Series]:
    """Return what stays of a group, series by series; at most two of every RUN readings of each."""
    return [_thinned(each) for each in series]


def _thinned(series: Series) -> Series:
    places = [place for start in range(0, len(series.times), RUN) for place in sorted(set(_kept(series, start)))]
    return msgspec.structs.replace(
        series, times=[series.times[place] for place in places], values=[series.values[place] for place in places]
    )


def _kept(series: Series, start: int) -> Iterator[int]:
    end = min(start + RUN, len(series.times))
    if series.kind in ("bool", "text"):
        yield from (start, end - 1)
        return
    values = series.values
    numbers = [place for place in range(start, end) if values[place] == values[place]]  # without "not a number"
    if not numbers:
        yield start
        return
    yield min(numbers, key=lambda place: values[place])
    yield max(numbers, key=lambda place: values[place])
