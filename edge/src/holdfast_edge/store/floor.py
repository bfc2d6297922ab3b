"""Floor: the least the time can be, whatever the node's clock says.

A machine without a battery wakes in 1970. Bounds from below: when this version was made, what was known before the
start, and when the signed things that were verified had been issued; each, plus the time since boot that has passed
since. A clock that the kernel calls synchronised is believed as it is, so a hub whose own clock runs ahead misleads only
those that know nothing better. Nothing orders or expires by the outcome.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio.to_thread

from holdfast_edge.store import copies
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Quality

BUILT: Final = 1_767_225_600.0  # seconds since 1970: no node of this version ran before 2026
LATEST: Final = 4_102_444_800.0  # 2100: what claims to be from later says nothing about the time
AHEAD: Final = 300.0  # seconds a signer's clock may be ahead of a synchronised one
KEEP_EVERY: Final = 900.0  # seconds
_LIBC: Final = ctypes.CDLL(None)
_UNSYNCHRONISED: Final = 5  # TIME_ERROR


def is_synced() -> bool:
    """Return whether the kernel calls its clock synchronised: adjtimex(2), which asked for nothing changes nothing."""
    return int(_LIBC.adjtimex(ctypes.create_string_buffer(1024))) in range(_UNSYNCHRONISED)


class FloorClock:
    """The node's clock, with its wall clock bounded from below."""

    def __init__(self, clock: Clock, folder: Path, synced: Callable[[], bool] = is_synced) -> None:
        self._clock = clock
        self._path = folder / copies.FLOOR
        self._synced = synced
        self._kept = _read(self._path)
        self._floor, self._at = max(BUILT, self._kept), clock.boottime()

    def wall(self) -> float:
        now = self._clock.wall()
        return now if self._synced() else max(now, self.floor())

    def boottime(self) -> float:
        return self._clock.boottime()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def quality(self) -> Quality:
        if self._synced():
            return "synced"
        return "floor" if self._clock.wall() < self.floor() else "unknown"

    def floor(self) -> float:
        """Return seconds since 1970 that it is at least, if no signer's clock ran ahead."""
        return self._floor + max(self._clock.boottime() - self._at, 0.0)

    def saw(self, issued_at: int) -> None:
        """Learn from a verified thing when it was issued, in milliseconds since 1970; an old one teaches nothing."""
        issued = issued_at / 1000
        latest = self._clock.wall() + AHEAD if self._synced() else LATEST
        if self.floor() < issued < latest:
            self._floor, self._at = issued, self._clock.boottime()

    async def run_keeping(self) -> None:
        """Keep the floor over restarts, for ever."""
        while True:
            await self._clock.sleep(KEEP_EVERY)
            await anyio.to_thread.run_sync(self.keep)

    def keep(self) -> None:
        """Write the floor beside the databases; a disk that refuses costs only how far it had come."""
        floor = self.floor()
        if floor <= self._kept:
            return
        try:
            copies.write(self._path, b"%d\n" % int(floor))
        except TransientError:
            return  # the one written before still stands, and the next time is not far
        self._kept = floor


def _read(path: Path) -> float:
    text = copies.read(path, 32).strip()
    return min(float(text), LATEST) if text.isdigit() else 0.0
