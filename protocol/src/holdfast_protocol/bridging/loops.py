"""Messages that come back: the mark each carries (MQTT 5), a memory of what went round (3.1.1), and rules that would loop."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from holdfast_protocol.bridging.filters import overlaps
from holdfast_protocol.bridging.rules import Route

MARK: Final = "holdfast-hops"  # user property: the bridges a message came over, oldest first, with commas
MAX_HOPS: Final = 8
MAX_MARK: Final = 1024  # characters of it that are looked at
AGAIN: Final = 100  # times the same message may go over within SPAN
SPAN: Final = 10.0  # seconds
REMEMBERED: Final = 10_000  # messages

Properties = Sequence[tuple[str, str]]


def hops(properties: Properties) -> tuple[str, ...]:
    """Return the bridges a message came over. A mark over the limit counts as too many."""
    for name, value in properties:
        if name == MARK:
            return tuple(value[:MAX_MARK].split(","))
    return ()


def came_back(seen: Sequence[str], own: str) -> bool:
    """Return whether a message was here before, or has come over more bridges than any way needs."""
    return own in seen or len(seen) >= MAX_HOPS


def marked(seen: str, own: str) -> str:
    """Return the mark of a message that goes over; `seen` is the one it came with."""
    return f"{seen},{own}" if seen else own


class Rounds:
    """What went over of late, told apart by topic and payload: what does so a hundred times in ten seconds goes round.

    A device that says the same now and then is not stopped; without a mark nothing tells its second message from a first
    one that came back.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._seen: OrderedDict[bytes, tuple[float, int]] = OrderedDict()  # digest: when the span began, times in it

    def goes_round(self, topic: str, payload: bytes, now: float) -> bool:
        """Count a message about to go over; `now` in seconds that never go back."""
        key = hashlib.blake2b(topic.encode("utf-8", "replace") + b"\0" + payload, digest_size=12).digest()
        began, times = self._seen.pop(key, (now, 0))
        if now - began >= SPAN:
            began, times = now, 0
        self._seen[key] = (began, times + 1)
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return times >= AGAIN


def looping(
    out: Sequence[Route], into: Sequence[Route], *, unmarked_remote: bool, unmarked_local: bool, one_broker: bool
) -> Iterator[tuple[Route, str]]:
    """Yield the rules that would send a message round without an end, and why.

    `unmarked_…`: that side speaks MQTT 3.1.1, where a client is sent what it published itself. `one_broker`: both sides are.
    """
    for mine, others, unmarked in ((out, into, unmarked_remote), (into, out, unmarked_local)):
        for route in mine:
            back = next((each for each in others if not each.of_readings and overlaps(route.output, each.filter)), None)
            if back is not None and (unmarked or one_broker):
                yield route, f"what it makes, {route.output}, is taken back by {back.filter}"
                continue
            if one_broker and not route.of_readings:
                own = next(
                    (each for each in mine if not each.of_readings and overlaps(route.output, each.filter)), None
                )
                if own is not None:
                    yield route, f"both sides are one broker, and what it makes, {route.output}, is taken again"
