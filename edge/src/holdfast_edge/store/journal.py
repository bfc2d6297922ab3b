"""Journal: the intent before the effect, the outcome after it. [inv: intent-before-effect]

The outcome is one transaction with what it changes: the attempt, and the body that is now applied or no longer ours.
An entry without an outcome was interrupted; the thing is looked at again like any other, so nothing is replayed.
"""

from typing import Final

import msgspec

from holdfast_edge.core.attempts import MADE, Attempt
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.order import Dependencies
from holdfast_edge.core.steps import Change, Remove, digest_of
from holdfast_edge.store import attempts as attempt_rows
from holdfast_edge.store import notices
from holdfast_edge.store import owned as owned_rows
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.owned import OwnedThings
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.names import ResourceKey

KEPT: Final = 2000  # entries


class Entry(msgspec.Struct, frozen=True):
    id: int
    key: ResourceKey
    action: str
    digest: str


class Line(msgspec.Struct, frozen=True):
    """One change as it is remembered. Times in milliseconds since 1970; `ended` 0 and no outcome: not ended."""

    key: ResourceKey
    action: str
    began: int
    ended: int
    outcome: str
    message: str


class Journal:
    def __init__(self, database: Database, owned: OwnedThings, attempts: Attempts) -> None:
        self._database = database
        self._owned = owned
        self._attempts = attempts

    async def begin(self, change: Change, graph: Dependencies, *, at: int) -> int:
        """Commit the intent, and ownership of what is about to be made; return the entry's number."""
        return await self._database.call(self._begin, change, graph, at)

    def _begin(self, change: Change, graph: Dependencies, at: int) -> int:
        claimed = None
        with self._database.transaction() as connection:
            if not isinstance(change, Remove):
                claimed = self._owned.claim(connection, change.resource, graph)
            number = connection.execute(
                "INSERT INTO journal (key, action, digest, began_at) VALUES (?, ?, ?, ?)",
                (change.key, type(change).__name__.lower(), digest_of(change), at),
            ).lastrowid
            assert number is not None
            connection.execute("DELETE FROM journal WHERE id <= ?", (number - KEPT,))
        if claimed is not None:
            self._owned.remember(change.key, claimed, durable=True)
        return number

    async def end(self, number: int, change: Change, attempt: Attempt, applied: Owned | None, *, at: int) -> None:
        """Commit the outcome. `applied` is what a success left ours: None after a removal."""
        await self._database.call(self._end, number, change, attempt, applied, at)
        self._attempts.remember(attempt)

    def _end(self, number: int, change: Change, attempt: Attempt, applied: Owned | None, at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE journal SET ended_at = ?, outcome = ?, message = ? WHERE id = ?",
                (at, attempt.outcome, attempt.message, number),
            )
            attempt_rows.put(connection, attempt)
            if attempt.outcome in MADE and applied is not None:
                owned_rows.put(connection, change.key, applied)
            elif attempt.outcome in MADE:
                owned_rows.drop(connection, change.key)
            if self._is_news(attempt):
                alarm = {"reason": attempt.reason, "resource": change.key, "message": attempt.message}
                notices.insert(connection, "Alarm", at, alarm)
        if attempt.outcome in MADE:
            self._owned.remember(change.key, applied, durable=False)

    def _is_news(self, attempt: Attempt) -> bool:
        """Return whether a contest has just been recognised; it is said once."""
        before = self._attempts.held.get(attempt.key)
        known = before is not None and before.digest == attempt.digest and before.outcome == "contested"
        return attempt.outcome == "contested" and not known

    async def recent(self, limit: int) -> list[Line]:
        """Return the newest entries, the newest first."""
        return await self._database.call(self._recent, limit)

    def _recent(self, limit: int) -> list[Line]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key, action, began_at, coalesce(ended_at, 0), coalesce(outcome, ''), coalesce(message, '')"
                " FROM journal ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [Line(ResourceKey(row[0]), *row[1:]) for row in rows]

    async def refuse(self, attempt: Attempt) -> None:
        """Commit that a change was not even begun: what it asks for can never be."""
        await self._database.call(self._refuse, attempt)
        self._attempts.remember(attempt)

    def _refuse(self, attempt: Attempt) -> None:
        with self._database.transaction() as connection:
            attempt_rows.put(connection, attempt)

    async def reverted(self, before: Owned | None, attempt: Attempt, *, at: int) -> None:
        """Commit that a change was gone back from: what is applied now is what was before it, None: nothing."""
        await self._database.call(self._reverted, before, attempt, at)
        self._attempts.remember(attempt)

    def _reverted(self, before: Owned | None, attempt: Attempt, at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO journal (key, action, digest, began_at, ended_at, outcome, message)"
                " VALUES (?, 'revert', ?, ?, ?, 'done', ?)",
                (attempt.key, attempt.digest, at, at, attempt.message),
            )
            attempt_rows.put(connection, attempt)
            if before is not None:
                owned_rows.put(connection, attempt.key, before)
            else:
                owned_rows.drop(connection, attempt.key)
            alarm = {"reason": attempt.reason, "resource": attempt.key, "message": attempt.message}
            notices.insert(connection, "Alarm", at, alarm)
        self._owned.remember(attempt.key, before, durable=True)

    async def cancelled(self, number: int, *, at: int) -> None:
        """Commit that a newer target ended the attempt. [inv: newer-target-cancels-retries]"""
        await self._database.call(self._close, number, "cancelled", at)

    def _close(self, number: int, outcome: str, at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE journal SET ended_at = ?, outcome = ? WHERE id = ?", (at, outcome, number))

    def interrupted(self, *, at: int) -> tuple[Entry, ...]:
        """Close and return what was begun and not ended, before any loop runs."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, key, action, digest FROM journal WHERE outcome IS NULL ORDER BY id"
            ).fetchall()
        if rows:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE journal SET outcome = 'interrupted', ended_at = ? WHERE outcome IS NULL", (at,)
                )
        return tuple(Entry(number, ResourceKey(key), action, digest) for number, key, action, digest in rows)
