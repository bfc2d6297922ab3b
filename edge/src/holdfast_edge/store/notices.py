"""Notices: records for stream p0, written in the transaction of what they report, moved to the outbox afterwards.

So a report is never lost to a kill between the two databases; at worst it is said twice. While nobody takes them, for the
outbox is full, the oldest make room, and an alarm in their place counts them. [inv: every-loss-is-counted]
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_edge.store.edge import decoded
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Record

BATCH: Final = 100
KEPT: Final = 20_000
DROPPED: Final = "NoticesDropped"


def insert(connection: sqlite3.Connection, kind: str, at: int, body: Any) -> None:
    """Add a notice inside the caller's transaction; `body` a Struct or a dict."""
    record = Record(kind=kind, at=at, body=msgspec.to_builtins(body))
    connection.execute("INSERT INTO notices (record) VALUES (?)", (msgspec.json.encode(record),))
    oldest, newest = connection.execute("SELECT min(id), max(id) FROM notices").fetchone()
    if newest - oldest >= KEPT:  # those between are numbered without gaps: they go from the oldest on
        _merge_oldest(connection)


def _merge_oldest(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id, record FROM notices ORDER BY id LIMIT 2").fetchall()
    records = [decoded(record, Record) for _, record in rows]
    count = sum(each.body["count"] if each.body.get("reason") == DROPPED else 1 for each in records)
    message = f"{count} reports were dropped: nobody took them, and no more than {KEPT} are kept"
    alarm = Record("Alarm", records[-1].at, {"reason": DROPPED, "count": count, "message": message})
    connection.execute("DELETE FROM notices WHERE id = ?", (rows[0][0],))
    connection.execute("UPDATE notices SET record = ? WHERE id = ?", (msgspec.json.encode(alarm), rows[-1][0]))


class Notices:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, kind: str, *, at: int, body: dict[str, Any]) -> None:
        """Commit a notice that follows from nothing else on disk. `at` in milliseconds since 1970."""
        await self._database.call(self._add, kind, at, body)

    def _add(self, kind: str, at: int, body: dict[str, Any]) -> None:
        with self._database.transaction() as connection:
            insert(connection, kind, at, body)

    async def waiting(self) -> tuple[tuple[int, Record], ...]:
        """Return the oldest notices with their numbers, at most 100."""
        return await self._database.call(self._waiting)

    def _waiting(self) -> tuple[tuple[int, Record], ...]:
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, record FROM notices ORDER BY id LIMIT ?", (BATCH,)).fetchall()
        return tuple((number, decoded(record, Record)) for number, record in rows)

    async def forget(self, numbers: Sequence[int]) -> None:
        """Delete what the outbox has committed."""
        await self._database.call(self._forget, numbers)

    def _forget(self, numbers: Sequence[int]) -> None:
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM notices WHERE id = ?", [(number,) for number in numbers])
