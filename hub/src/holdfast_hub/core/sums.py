"""What a set of readings of one series comes to, so that it can be added to: in any order, in any parts, the same."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from holdfast_protocol.wire.readings import Value

Identity = tuple[int, int, int]  # time in milliseconds since 1970, stream, sequence: never used twice in a series


class Sums(msgspec.Struct, frozen=True):
    """`numbers` is how many had a number: `total`, `least` and `greatest` are of those. `last` is that of `newest`."""

    count: int
    numbers: int
    least: float | int | None
    greatest: float | int | None
    total: float
    last: Value | None  # None: a float's "not a number"
    newest: Identity

    @property
    def mean(self) -> float | None:
        return self.total / self.numbers if self.numbers else None


NOWHERE: Final[Identity] = (-(2**63), 0, 0)
NOTHING: Final = Sums(0, 0, None, None, 0.0, None, NOWHERE)


def merged(parts: Iterable[Sums]) -> Sums:
    """Return what several sets that share no reading come to together."""
    held = [part for part in parts if part.count]
    if len(held) < 2:
        return held[0] if held else NOTHING
    newest = max(held, key=lambda part: part.newest)
    return Sums(
        sum(part.count for part in held),
        sum(part.numbers for part in held),
        min((part.least for part in held if part.least is not None), default=None),
        max((part.greatest for part in held if part.greatest is not None), default=None),
        sum(part.total for part in held),
        newest.last,
        newest.newest,
    )


def begin(time: int, every: int) -> int:
    """Return when the span of `every` milliseconds begins that a time is in: a multiple of its length since 1970."""
    return time // every * every


def coarser(finer: Mapping[int, Sums], every: int) -> dict[int, Sums]:
    """Return spans, by their beginnings, as longer ones. `every` is a multiple of the length they have."""
    found: dict[int, list[Sums]] = {}
    for time, part in finer.items():
        found.setdefault(begin(time, every), []).append(part)
    return {time: merged(parts) for time, parts in found.items()}


def fitting(tiers: Iterable[int], since: int, until: int) -> list[int]:
    """Return the lengths of spans that a time is whole ones of."""
    return [each for each in tiers if since % each == 0 and until % each == 0]
