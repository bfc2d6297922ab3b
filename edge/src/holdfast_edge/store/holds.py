"""Holds on disk. Making, releasing and expiring one is an audit record, in the same transaction."""

import secrets
from collections.abc import Sequence

import msgspec

from holdfast_edge.core.holds import MAX_SECONDS, Kept, Moment, active, received, remaining
from holdfast_edge.store import notices
from holdfast_edge.store.edge import decoded
from holdfast_protocol.errors import ConflictError, MisuseError, NotFoundError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.target import HubHold

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
        # What is over and could not be written yet does not end again: the periodic look tries it.
        return min((rest for kept in self._held.values() if (rest := remaining(kept, now)) > 0), default=None)

    async def make(self, *, reason: str, seconds: float, resources: Sequence[str], by: str, now: Moment) -> Hold:
        """Hold everything, or the resources named. [inv: every-hold-expires]"""
        if not (0 < seconds <= MAX_SECONDS):
            raise MisuseError(f"a hold lasts at most {MAX_SECONDS // 86_400} days", reason="BadDuration")
        if not reason.strip():
            raise MisuseError("a hold needs a reason", reason="NoReason")
        if sum(not kept.remote for kept in self._held.values()) >= MAX_HOLDS:
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
            what = "HoldExpired" if kept.over else "HoldMade"  # of the hub, received too late
            notices.insert(connection, "Audit", at, {"what": what, "hold": kept.hold, "by": kept.hold.by})

    async def release(self, name: str, *, by: str, now: Moment) -> Hold:
        """End a hold before its time; raises NotFoundError when there is no such one."""
        kept = self._held.get(name)
        if kept is None or kept.over:
            raise NotFoundError(f"no hold {name[:80]!r}", reason="NoSuchHold", hint="holdfast-edge hold --list")
        await self._end([kept], "HoldReleased", by, now)
        return kept.hold

    async def follow(self, wanted: Sequence[HubHold], now: Moment) -> None:
        """Begin the hub's holds that are new in the newest target, and end those that left it."""
        names = {hold.id for hold in wanted}
        gone = [kept for name, kept in self._held.items() if kept.remote and name not in names]
        if gone:
            await self._end(gone, "HoldReleased", "hub", now, forget=True)
        for hold in wanted:
            if hold.id not in self._held:
                kept = received(hold, now)
                await self._database.call(self._put, kept, int(now.wall * 1000))
                self._held = {**self._held, hold.id: kept}

    async def expire(self, now: Moment) -> None:
        """End the holds whose time is over."""
        over = [kept for kept in self._held.values() if not kept.over and remaining(kept, now) <= 0]
        if over:
            await self._end(over, "HoldExpired", "", now)

    async def _end(self, kept: Sequence[Kept], what: str, by: str, now: Moment, *, forget: bool = False) -> None:
        """Without `forget` a hold of the hub is remembered as over for as long as the target names it."""
        await self._database.call(self._write_end, kept, what, by[:MAX_TEXT], int(now.wall * 1000), forget)
        ended = {each.hold.id: each for each in kept}
        self._held = {name: each for name, each in self._held.items() if name not in ended}
        if not forget:
            self._held |= {name: _over(each) for name, each in ended.items() if each.remote}

    def _write_end(self, kept: Sequence[Kept], what: str, by: str, at: int, forget: bool) -> None:
        with self._database.transaction() as connection:
            for each in kept:
                if each.remote and not forget:
                    value = (msgspec.json.encode(_over(each)), each.hold.id)
                    connection.execute("UPDATE holds SET kept = ? WHERE id = ?", value)
                else:
                    connection.execute("DELETE FROM holds WHERE id = ?", (each.hold.id,))
                if not each.over:
                    notices.insert(connection, "Audit", at, {"what": what, "hold": each.hold, "by": by})


def _over(kept: Kept) -> Kept:
    return msgspec.structs.replace(kept, over=True)
