"""How long the room left lasts at the present rate. Pure."""

from collections import deque
from collections.abc import Mapping
from typing import Final

OVER: Final = 3600.0  # seconds that count as the present
EVERY: Final = 60.0  # seconds between two samples
LEAST: Final = 60.0  # seconds without which there is no rate


class Rates:
    """Bytes a second that come in, by class, over the last hour. Times are seconds since boot."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[str, int]]] = deque()

    def note(self, now: float, taken: Mapping[str, int]) -> None:
        """Take bytes counted since the start."""
        if self._samples and now - self._samples[-1][0] < EVERY:
            return
        self._samples.append((now, dict(taken)))
        while now - self._samples[0][0] > OVER + EVERY:
            self._samples.popleft()

    def rate(self, stream: str, now: float, taken: int) -> float | None:
        """Return bytes a second; None when it was not watched for long enough."""
        if not self._samples or now - self._samples[0][0] < LEAST:
            return None
        since, counted = self._samples[0]
        return max(taken - counted.get(stream, 0), 0) / (now - since)


def lasts(free: int, rate: float | None) -> float | None:
    """Return the seconds until `free` bytes are taken if nothing leaves; None: not known, or for ever."""
    return max(free, 0) / rate if rate else None
