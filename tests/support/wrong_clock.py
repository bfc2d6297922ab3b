"""A wall clock that is wrong for some programs, by as much as a test says, while they run."""

import time
from pathlib import Path
from typing import Final

from support.fleet import Program

DAY: Final = 86400.0  # seconds
YEAR: Final = 365.25 * DAY
SINCE_1970 = time.time() - 60


class WrongClock:
    """The wall clock of programs that are not running yet, `off` seconds ahead of this machine's. The time since boot is
    right."""

    def __init__(self, folder: Path, off: float, *programs: Program) -> None:
        library = str(next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")))
        self._file = folder / "clock"
        self.step(off)
        settings = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,  # neither does a wrong wall clock move the time since boot
            "NO_FAKE_STAT": 1,
        }
        for program in programs:
            program.words[:0] = ["env", *(f"{name}={value}" for name, value in settings.items())]

    def step(self, off: float) -> None:
        """Set the clock so many seconds ahead of this machine's."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{off:+.0f}\n")
        fresh.replace(self._file)
