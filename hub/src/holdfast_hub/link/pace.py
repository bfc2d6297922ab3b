"""Pace: a bucket of permits, so that repairing a whole fleet does not flood the broker, and one change waits for nothing."""

from typing import Final

from holdfast_protocol.runtime.clock import Clock

BURST: Final = 100


class Pace:
    def __init__(self, clock: Clock, rate: float, burst: int = BURST) -> None:
        """`rate` is in permits a second; `burst` may be taken at once after a rest."""
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._held = float(burst)
        self._at = clock.boottime()

    async def take(self) -> None:
        """Return when one more may go."""
        now = self._clock.boottime()
        self._held = min(float(self._burst), self._held + (now - self._at) * self._rate) - 1
        self._at = now
        if self._held < 0:
            await self._clock.sleep(-self._held / self._rate)
