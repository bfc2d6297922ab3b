"""Long reads of readings.db, on connections of their own: beside the one that writes, and no commit waits for them."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from holdfast_protocol.errors import InputError, Problem, TransientError
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
        """Run a function that reads, in a thread; a caller that is cancelled waits no longer, nor does the read go on.

        Raises InputError when it takes longer than `within`, 0: the reader's; TransientError."""
        given_up = threading.Event()
        run = partial(self._run, function, within or self._within, given_up.is_set)
        try:
            return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            given_up.set()

    def _run(self, function: Callable[[sqlite3.Connection], R], within: float, given_up: Callable[[], bool]) -> R:
        end = time.monotonic() + within
        try:
            with closing(read_only(self._path)) as connection:
                connection.execute("PRAGMA busy_timeout=5000")
                connection.execute("BEGIN")  # all of a question sees one moment
                connection.set_progress_handler(lambda: given_up() or time.monotonic() > end, _STEPS)
                return function(connection)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_INTERRUPT:
                text = f"would take longer than {within:g} s"
                raise InputError([Problem(text, hint="name a site, a device, a metric, or a shorter time")]) from None
            if code & 0xFF == sqlite3.SQLITE_CANTOPEN:  # the file is there, we write it: no descriptor is left
                text, hint = f"{self._path} cannot be opened again", "let the hub open more files"
                raise TransientError(text, reason="Busy", after=1, hint=hint) from error
            raise classified(error, self._path) from error
