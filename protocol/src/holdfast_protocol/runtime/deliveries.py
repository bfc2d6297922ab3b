"""Deliveries that were read and not received yet: so many messages and so many bytes, and then no more is read."""

from collections import deque
from collections.abc import Sequence

from holdfast_protocol.runtime.mqtt import Delivery


class Deliveries:
    """In the broker's order. `full` is reached with `messages` messages or `size` bytes of all that a message has."""

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._waiting: deque[Delivery] = deque()
        self._held = 0  # bytes

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def fullness(self) -> float:
        """1 is full; more when bounds were stretched."""
        return max(len(self._waiting) / self._messages, self._held / self._size)

    def room(self, times: int) -> int:
        """Return how many messages more may be taken in, when bounds are stretched so many times."""
        return 0 if self._held >= times * self._size else max(times * self._messages - len(self._waiting), 0)

    def add(self, found: Sequence[Delivery]) -> None:
        self._waiting.extend(found)
        self._held += sum([_size(each) for each in found])

    def take(self, most: int, size: int) -> list[Delivery]:
        """Return the oldest of them: so many at most, and of `size` bytes or one."""
        if most >= len(self._waiting) and size >= self._held:
            found = list(self._waiting)
            self.clear()
            return found
        found, held = [], 0
        while self._waiting and len(found) < most and (not found or held + _size(self._waiting[0]) <= size):
            found.append(self._waiting.popleft())
            held += _size(found[-1])
        self._held -= held
        return found

    def clear(self) -> None:
        self._waiting.clear()
        self._held = 0


def _size(each: Delivery) -> int:
    size = len(each.topic) + len(each.payload)
    return size + sum([len(name) + len(value) for name, value in each.properties]) if each.properties else size
