"""The numbers of one edge node's messages: 0 to 255 and again from 0, over the node and all its devices.

What comes early waits for what is missing; when that does not come in time the sequence is broken, until the next birth
begins another. Bounded, and nothing that came is dropped except what came before already.
"""

from typing import Final, Generic, TypeVar

MODULUS: Final = 256
REORDER: Final = 2.0  # seconds that an early message waits
MAX_EARLY: Final = 32  # messages
Item = TypeVar("Item")


class Sequence(Generic[Item]):
    """`broken`: something is missing, so that a birth may be. `due`: when waiting ends, in seconds since boot."""

    def __init__(self, first: int) -> None:
        self.broken = False
        self.due: float | None = None
        self.missing = 0  # messages, all told
        self._next = (first + 1) % MODULUS
        self._early: dict[int, Item] = {}

    def take(self, number: int, item: Item, now: float) -> list[Item] | None:
        """Return what is to be taken now, in order; None when this came before, or much too late."""
        ahead = (number - self._next) % MODULUS
        if ahead >= MODULUS // 2 or number in self._early:
            return None
        if ahead and not self.broken:
            self._early[number] = item
            self.due = now + REORDER if self.due is None else self.due
            return self.give_up() if len(self._early) > MAX_EARLY else []
        self.missing += ahead
        self._next = (number + 1) % MODULUS
        return [item, *self._following()]

    def give_up(self) -> list[Item]:
        """Wait no longer: return everything that waited, in order, as a sequence that is broken."""
        self.broken = True
        found: list[Item] = []
        for number in sorted(self._early, key=lambda each: (each - self._next) % MODULUS):
            self.missing += (number - self._next) % MODULUS
            self._next = (number + 1) % MODULUS
            found.append(self._early.pop(number))
        self.due = None
        return found

    def break_off(self) -> None:
        """Something was missed for certain, though no number says so yet."""
        self.broken = True

    def _following(self) -> list[Item]:
        found = []
        while self._next in self._early:
            found.append(self._early.pop(self._next))
            self._next = (self._next + 1) % MODULUS
        if not self._early:
            self.due = None
        return found
