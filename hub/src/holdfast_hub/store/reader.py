"""Long reads of readings.db, on connections of their own: beside the one that writes, and no commit waits for them."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.runtime.sqlite import classified, read_only

AT_ONCE: Final = 2  # reads; others wait
WITHIN: Final = 30.0  # seconds one may take
_STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock
R = TypeVar("R")


class Reader:
    """Reads of a file that another connection of this process holds open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def run(self, function: Callable[[sqlite3.Connection], R], *, within: float = WITHIN) -> R:
        """Run a function that reads, in a thread. Raises InputError for a question that takes longer than `within`."""
        return await anyio.to_thread.run_sync(self._run, function, within, limiter=self._limiter)

    def _run(self, function: Callable[[sqlite3.Connection], R], within: float) -> R:
        end = time.monotonic() + within
        with closing(read_only(self._path)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            try:
                return function(connection)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                    text = f"would take longer than {within:g} s"
                    raise InputError(
                        [Problem(text, hint="name a site, a device, a metric, or a shorter time")]
                    ) from None
                raise classified(error, self._path) from error
