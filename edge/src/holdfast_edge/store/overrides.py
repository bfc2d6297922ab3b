"""Overrides on disk. Making one, and every end of one, is an audit record in the same transaction."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
import msgspec

from holdfast_edge.core.holds import Moment
from holdfast_edge.core.overrides import Kept, accept, remaining
from holdfast_edge.store import notices
from holdfast_edge.store.edge import decoded
from holdfast_protocol.errors import NotFoundError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Override
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.overrides import Decision
from holdfast_protocol.wire.target import Resource

MAX_TEXT: Final = 300
_NAME: Final = "overrides"


class Overrides:
    """Loaded once, then written through. `active` is the same object while nothing changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = anyio.Lock()  # from what is kept to what will be
        with database.reading() as connection:
            row = connection.execute("SELECT value FROM memory WHERE name = ?", (_NAME,)).fetchone()
        self._follow(decoded(row[0], tuple[Kept, ...]) if row else ())

    def _follow(self, kept: tuple[Kept, ...]) -> None:
        self._kept = kept
        self.active: tuple[Override, ...] = tuple(each.override for each in kept)

    def next_end(self, now: Moment) -> float | None:
        """Return in how many seconds the next one ends; None when none does."""
        # What is over and could not be written yet does not end again: the periodic look tries it.
        return min((rest for each in self._kept if (rest := remaining(each, now))), default=None)

    async def make(
        self,
        wanted: Mapping[ResourceKey, Resource],
        *,
        resource: str,
        patch: dict[str, Any],
        reason: str,
        seconds: float,
        by: str,
        now: Moment,
    ) -> Override:
        """Keep a change; one of the same resource before it is replaced. `wanted` is what the target says without any;
        `seconds` 0: until somebody ends it. Raises MisuseError."""
        until = int((now.wall + seconds) * 1000) if seconds else 0
        made = Override(
            secrets.token_hex(4), resource, patch, reason[:MAX_TEXT], by[:MAX_TEXT], int(now.wall * 1000), until
        )
        async with self._lock:
            others = tuple(each for each in self._kept if each.override.resource != resource)
            accept(wanted, others, made, seconds)
            replaced = tuple(each for each in self._kept if each not in others)
            kept = (*others, Kept(made, now.boot_id, now.boottime, seconds))
            await self._write(
                kept, [("OverrideSet", made, by), *(("OverrideReplaced", each.override, by) for each in replaced)], now
            )
        return made

    async def drop(self, name: str, *, by: str, now: Moment) -> Override:
        """End one, by id or by its resource. Raises NotFoundError."""
        async with self._lock:
            found = next((each for each in self._kept if name in (each.override.id, each.override.resource)), None)
            if found is None:
                hint = "holdfast-edge override list"
                raise NotFoundError(f"no override {name[:200]!r}", reason="NotFound", hint=hint)
            await self._end([found], "OverrideDropped", by, now)
            return found.override

    async def follow(self, decided: Sequence[Decision], now: Moment) -> None:
        """End what the hub has adopted into its target, or dropped."""
        verdicts = {each.id: each for each in decided}
        async with self._lock:
            for kept in self._kept:
                if (decision := verdicts.get(kept.override.id)) is not None:
                    await self._end([kept], f"Override{decision.verdict.capitalize()}", decision.by, now)

    async def expire(self, now: Moment) -> None:
        async with self._lock:
            over = [each for each in self._kept if remaining(each, now) == 0.0]
            if over:
                await self._end(over, "OverrideExpired", "", now)

    async def _end(self, over: Sequence[Kept], what: str, by: str, now: Moment) -> None:
        rest = tuple(each for each in self._kept if each not in over)
        await self._write(rest, [(what, each.override, by) for each in over], now)

    async def _write(self, kept: tuple[Kept, ...], said: Sequence[tuple[str, Override, str]], now: Moment) -> None:
        await self._database.call(self._put, kept, said, int(now.wall * 1000))
        self._follow(kept)

    def _put(self, kept: tuple[Kept, ...], said: Sequence[tuple[str, Override, str]], at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (_NAME, msgspec.json.encode(kept))
            )
            for what, override, by in said:
                body = {"what": what, "override": override.id, "resource": override.resource, "by": by}
                notices.insert(connection, "Audit", at, {**body, "reason": override.reason})
