"""Holds on disk. Making, releasing and expiring one is an audit record, in the same transaction."""

import secrets
from collections.abc import Sequence

import msgspec

from holdfast_edge.core.holds import MAX_SECONDS, Kept, Moment, active, remaining
from holdfast_edge.store import notices
from holdfast_edge.store.edge import decoded
from holdfast_protocol.errors import ConflictError, MisuseError, NotFoundError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Hold

MAX_HOLDS = 100
MAX_TEXT = 300
MAX_BYTES = 64 * 1024  # of one, encoded: it goes into a record of p0, which has its own limit


class Holds:
    """Loaded once, then written through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading() as connection:
            rows = connection.execute("SELECT kept FROM holds").fetchall()
        self._held = {kept.hold.id: kept for kept in (decoded(row[0], Kept) for row in rows)}

    def active(self, now: Moment) -> tuple[Hold, ...]:
        return active(self._held.values(), now)

    def next_end(self, now: Moment) -> float | None:
        """Return in how many seconds the next hold ends; None when there is none."""
        return min((remaining(kept, now) for kept in self._held.values()), default=None)

    async def make(self, *, reason: str, seconds: float, resources: Sequence[str], by: str, now: Moment) -> Hold:
        """Hold everything, or the resources named. [inv: every-hold-expires]"""
        if not (0 < seconds <= MAX_SECONDS):
            raise MisuseError(f"a hold lasts more than 0 and at most {MAX_SECONDS} seconds", reason="BadDuration")
        if not reason.strip():
            raise MisuseError("a hold needs a reason", reason="NoReason")
        if len(self._held) >= MAX_HOLDS:
            raise ConflictError(f"there are {MAX_HOLDS} holds already", reason="TooManyHolds")
        hold = Hold(
            id=secrets.token_hex(4),
            reason=reason[:MAX_TEXT],
            until=int((now.wall + seconds) * 1000),
            by=by[:MAX_TEXT],
            resources=tuple(sorted({each[:MAX_TEXT] for each in resources})),
        )
        kept = Kept(hold, now.boot_id, now.boottime, seconds)
        if len(msgspec.json.encode(kept)) > MAX_BYTES:
            raise MisuseError(f"a hold has at most {MAX_BYTES} bytes", reason="TooMany", hint="hold everything")
        await self._database.call(self._put, kept, int(now.wall * 1000))
        self._held = {**self._held, hold.id: kept}
        return hold

    def _put(self, kept: Kept, at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO holds (id, kept) VALUES (?, ?)", (kept.hold.id, msgspec.json.encode(kept)))
            notices.insert(connection, "Audit", at, {"what": "HoldMade", "hold": kept.hold, "by": kept.hold.by})

    async def release(self, name: str, *, by: str, now: Moment) -> Hold:
        """End a hold before its time; raises NotFoundError when there is no such one."""
        kept = self._held.get(name)
        if kept is None:
            raise NotFoundError(f"no hold {name[:80]!r}", reason="NoSuchHold", hint="holdfast-edge hold --list")
        await self._drop([kept], "HoldReleased", by, now)
        return kept.hold

    async def expire(self, now: Moment) -> None:
        """End the holds whose time is over."""
        over = [kept for kept in self._held.values() if remaining(kept, now) <= 0]
        if over:
            await self._drop(over, "HoldExpired", "", now)

    async def _drop(self, kept: Sequence[Kept], what: str, by: str, now: Moment) -> None:
        await self._database.call(self._delete, kept, what, by[:MAX_TEXT], int(now.wall * 1000))
        gone = {each.hold.id for each in kept}
        self._held = {name: each for name, each in self._held.items() if name not in gone}

    def _delete(self, kept: Sequence[Kept], what: str, by: str, at: int) -> None:
        with self._database.transaction() as connection:
            for each in kept:
                connection.execute("DELETE FROM holds WHERE id = ?", (each.hold.id,))
                notices.insert(connection, "Audit", at, {"what": what, "hold": each.hold, "by": by})
