"""Attempts on disk: a restart does not forget how often something failed."""

import sqlite3
from collections.abc import Collection, Mapping

import msgspec

from holdfast_edge.core.attempts import Attempt
from holdfast_edge.store.edge import decoded
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.names import ResourceKey


class Attempts:
    """Loaded once, then written through."""

    def __init__(self, database: Database) -> None:
        """Load. Final ones are left out: the machine may have changed while the agent was not running."""
        self._database = database
        with database.reading() as connection:
            rows = connection.execute("SELECT attempt FROM attempts").fetchall()
        every = [decoded(row[0], Attempt) for row in rows]
        self._held = {attempt.key: attempt for attempt in every if not attempt.final}
        self._left_out = {attempt.key for attempt in every if attempt.final}

    @property
    def held(self) -> Mapping[ResourceKey, Attempt]:
        return self._held

    def remember(self, attempt: Attempt) -> None:
        """Follow a committed `put`."""
        self._held = {**self._held, attempt.key: attempt}

    async def forget_others(self, keys: Collection[ResourceKey]) -> None:
        """Drop the attempts at things that are neither wanted nor owned."""
        gone = [key for key in (*self._held, *self._left_out) if key not in keys]
        if gone:
            await self._database.call(self._forget, gone)
            self._left_out.difference_update(gone)
            self._held = {key: attempt for key, attempt in self._held.items() if key not in gone}

    def _forget(self, keys: Collection[ResourceKey]) -> None:
        with self._database.transaction() as connection:
            for key in keys:
                drop(connection, key)


def put(connection: sqlite3.Connection, attempt: Attempt) -> None:
    """Write an attempt inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO attempts (key, attempt) VALUES (?, ?)", (attempt.key, msgspec.json.encode(attempt))
    )


def drop(connection: sqlite3.Connection, key: ResourceKey) -> None:
    connection.execute("DELETE FROM attempts WHERE key = ?", (key,))
