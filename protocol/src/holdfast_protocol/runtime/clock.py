"""The clock as a port: shells read it, cores are told the time."""

import time
from pathlib import Path
from typing import Protocol

import anyio


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since 1970; may jump, may be wrong."""
        ...

    def boottime(self) -> float:
        """Seconds since boot, suspended time included; never goes back within one boot."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def wall(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def boot_id() -> str:
    """Return the kernel's identifier of this boot, "" where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
