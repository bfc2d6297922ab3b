"""What the outbox needs when nobody appends: rows expire, the odometer goes on, the rate is watched; and what is said of it."""

import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast_edge.core.forecast import EVERY, Rates, lasts
from holdfast_edge.link.meter import Meter
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Depth, Loss
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import Clock

TIDY_EVERY: Final = EVERY


class Standing(msgspec.Struct, frozen=True):
    """One class of the outbox, for people. Ages in seconds; None: nothing held, or not known yet."""

    rows: int
    bytes: int
    quota: int
    age_s: float | None
    lost: int
    losses: dict[str, Loss]
    bytes_per_s: float | None
    full_in_s: float | None  # at the present rate, if nothing could be sent; None also for never


class Upkeep:
    def __init__(self, outbox: Outbox, folder: Path, clock: Clock, meter: Meter) -> None:
        self._outbox = outbox
        self._folder = folder
        self._clock = clock
        self._meter = meter
        self._rates = Rates()

    async def run(self) -> None:
        """Tidy, for ever. A full disk is waited out: whoever appends is told of it."""
        while True:
            self._rates.note(self._clock.boottime(), self._outbox.taken())
            try:
                await self._outbox.tidy()
            except TransientError as error:
                await self._clock.sleep(error.after or TIDY_EVERY)
            await self._clock.sleep(TIDY_EVERY)

    def standing(self) -> dict[str, Any]:
        """Return what `holdfast-edge outbox` shows."""
        allowance = self._meter.allowance()
        return {
            "classes": {name: self._of(name, depth) for name, depth in self._outbox.depth().items()},
            "budget": {"allowed": allowance.allowed, "left": allowance.left, "why": allowance.why},
            "disk_free": shutil.disk_usage(self._folder).free,
        }

    def _of(self, name: str, depth: Depth) -> Standing:
        rate = self._rates.rate(name, self._clock.boottime(), self._outbox.taken()[name])
        return Standing(
            rows=depth.rows,
            bytes=depth.bytes,
            quota=depth.quota,
            age_s=max(self._clock.wall() - depth.oldest / 1000, 0.0) if depth.oldest else None,
            lost=depth.lost,
            losses=depth.losses,
            bytes_per_s=rate,
            full_in_s=lasts(depth.quota - depth.bytes, rate),
        )
