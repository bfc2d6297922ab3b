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
UPKEEP: Final = 600.0  # seconds one may take that nobody waits for
_STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock
R = TypeVar("R")


class Reader:
    """Reads of a file that another connection of this process holds open."""

    def __init__(self, path: Path, *, within: float = WITHIN) -> None:
        """`within` is how many seconds one may take that does not say."""
        self._path = path
        self._within = within
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def run(self, function: Callable[[sqlite3.Connection], R], *, within: float = 0.0) -> R:
        """Run a function that reads, in a thread. Raises InputError when it takes longer than `within`, 0: the reader's."""
        return await anyio.to_thread.run_sync(self._run, function, within or self._within, limiter=self._limiter)

    def _run(self, function: Callable[[sqlite3.Connection], R], within: float) -> R:
        end = time.monotonic() + within
        with closing(read_only(self._path)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            connection.execute("BEGIN")  # all of a question sees one moment
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
