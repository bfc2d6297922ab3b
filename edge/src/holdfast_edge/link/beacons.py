"""Beacons: is what the broker gives us the hub's newest word? A stale one is an alarm and changes nothing.

[inv: hub-silence-changes-nothing] A beacon is fresh for as long as it was made to live, counted in time since boot from
when it came; the wall clock has no say. One that was kept back has used up what the floor of time knows to be over.
"""

from collections.abc import Callable
from typing import Final

from holdfast_edge.store.floor import FloorClock
from holdfast_protocol.wire.target import Beacon

FIRST: Final = 3600.0  # seconds after the start in which one must have come
LONGEST: Final = 7 * 24 * 3600.0  # seconds one is believed, whatever it says
LOOK_EVERY: Final = 60.0  # seconds
STALE: Final = "no fresh beacon: the hub is silent, or the broker keeps its newest word from us"


class Beacons:
    """What the verified beacons of this run have told."""

    def __init__(self, clock: FloorClock) -> None:
        self.announced = (0, 0)  # (epoch, generation) of the newest target, as the newest beacon says
        self._clock = clock
        self._newest = (0, 0, 0)  # issued at, epoch, generation
        self._fresh_until = clock.boottime() + FIRST

    def take(self, beacon: Beacon) -> None:
        """Follow a verified beacon of this site; one not newer than the last changes nothing."""
        newest = (beacon.issued_at, beacon.epoch, beacon.generation)
        if newest <= self._newest:
            return
        self._newest = newest
        self.announced = (beacon.epoch, beacon.generation)
        life = min((beacon.expires_at - beacon.issued_at) / 1000, LONGEST)
        age = max(self._clock.floor() - beacon.issued_at / 1000, 0.0)
        self._fresh_until = max(self._fresh_until, self._clock.boottime() + life - age)
        self._clock.saw(beacon.issued_at)

    @property
    def problem(self) -> str:
        """What a person should know: "" while the newest beacon is fresh."""
        return STALE if self._clock.boottime() >= self._fresh_until else ""

    async def run(self, note: Callable[[str], None]) -> None:
        """Tell `note` how it is, connected or not, for ever."""
        while True:
            note(self.problem)
            await self._clock.sleep(LOOK_EVERY)
