"""Memory: what a node said of itself last, and how far its target has come."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from holdfast_edge.core.lifecycle import Life
from holdfast_edge.store import notices
from holdfast_edge.store.edge import NAME, decoded
from holdfast_protocol.runtime.sqlite import Database, read_only
from holdfast_protocol.wire.messages import Status, TargetReport


class Memory:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> tuple[Status | None, Life]:
        """Return the last status (None: never one) and the life of the last target."""
        with self._database.reading() as connection:
            rows = dict(connection.execute("SELECT name, value FROM memory").fetchall())
        status = decoded(rows["status"], Status) if "status" in rows else None
        return status, decoded(rows["life"], Life) if "life" in rows else Life()

    async def save_status(self, status: Status) -> None:
        await self._database.call(self._save, "status", msgspec.json.encode(status), (), 0)

    async def save_life(self, life: Life, reports: Sequence[TargetReport], *, at: int) -> None:
        """Commit how far the target has come, together with what that makes us say."""
        await self._database.call(self._save, "life", msgspec.json.encode(life), reports, at)

    def _save(self, name: str, value: bytes, reports: Sequence[TargetReport], at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (name, value))
            for report in reports:
                notices.insert(connection, "TargetReport", at, report)


def last_status(folder: Path) -> Status | None:
    """Return the last status of an agent that is not running, read without writing; None when there is none."""
    path = folder / NAME
    if not path.exists():
        return None
    connection = read_only(path)
    try:
        row = connection.execute("SELECT value FROM memory WHERE name = 'status'").fetchone()
    finally:
        connection.close()
    return decoded(row[0], Status) if row else None
