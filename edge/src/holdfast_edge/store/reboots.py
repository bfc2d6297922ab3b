"""Reboots on disk: what is remembered of restarts. What is to be told of a step is written in the same transaction."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_edge.core.reboots import Kept
from holdfast_edge.store import notices
from holdfast_edge.store.edge import decoded
from holdfast_protocol.runtime.sqlite import Database

NAME: Final = "reboots"
Telling = tuple[str, dict[str, Any]]  # Audit or Alarm, and its body


class Reboots:
    """Loaded once, then written through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading() as connection:
            row = connection.execute("SELECT value FROM memory WHERE name = ?", (NAME,)).fetchone()
        self.kept = decoded(row[0], Kept) if row else Kept()

    async def keep(self, kept: Kept, *, at: int, tell: Sequence[Telling] = ()) -> None:
        """Commit, with what is to be told (`at` in ms since 1970); raises TransientError when the disk refuses."""
        if kept == self.kept and not tell:
            return
        await self._database.call(self._write, msgspec.json.encode(kept), at, tell)
        self.kept = kept

    def _write(self, value: bytes, at: int, tell: Sequence[Telling]) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (NAME, value))
            for kind, body in tell:
                notices.insert(connection, kind, at, body)
