"""Times in stretches: where the readings of a group lie when one device's clock is years off."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

MOST: Final = 32  # stretches
APART: Final = 3_600_000  # milliseconds between two


def stretches(times: Iterable[int]) -> list[tuple[int, int]]:
    """Return the earliest and latest times of at most MOST stretches that have all times, none within APART of another."""
    known = sorted(set(times))
    gaps = [(later - earlier, later) for earlier, later in pairwise(known) if later - earlier > APART]
    starts = {later for _, later in sorted(gaps, reverse=True)[: MOST - 1]}
    found: list[tuple[int, int]] = []
    for time in known:
        if not found or time in starts:
            found.append((time, time))
        else:
            found[-1] = (found[-1][0], time)
    return found
