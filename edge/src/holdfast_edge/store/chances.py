"""Chances: missed openings by window, and changes that were asked to wait. Kept over restarts; what is to be told of them
is written in the same transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast_edge.core.deferral import Deferral
from holdfast_edge.core.missed import Misses
from holdfast_edge.store import notices
from holdfast_edge.store.edge import decoded
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.names import ResourceKey

NAME = "chances"


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    misses: dict[str, Misses] = {}
    deferrals: tuple[Deferral, ...] = ()


class Chances:
    """Loaded once, then written through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading() as connection:
            row = connection.execute("SELECT value FROM memory WHERE name = ?", (NAME,)).fetchone()
        kept = decoded(row[0], _Kept) if row else _Kept()
        self.misses: Mapping[str, Misses] = kept.misses  # by window
        self.deferrals: Mapping[ResourceKey, Deferral] = {each.key: each for each in kept.deferrals}
        self._alarms: tuple[dict[str, Any], ...] = ()  # not written yet
        self._unsaved = False

    def set_misses(self, misses: Mapping[str, Misses], alarms: Sequence[dict[str, Any]]) -> None:
        """Take the counts, with the alarms they come to; `save` writes them."""
        self._take(alarms, misses != self.misses)
        self.misses = misses

    def set_deferrals(self, deferrals: Mapping[ResourceKey, Deferral], alarms: Sequence[dict[str, Any]]) -> None:
        self._take(alarms, deferrals != self.deferrals)
        self.deferrals = deferrals

    def _take(self, alarms: Sequence[dict[str, Any]], changed: bool) -> None:
        self._alarms = (*self._alarms, *alarms)
        self._unsaved = self._unsaved or changed or bool(alarms)

    async def save(self, *, at: int) -> None:
        """Write what is new; raises TransientError when the disk refuses, and then it is still to be written."""
        if self._unsaved:
            kept, alarms = _Kept(dict(self.misses), tuple(self.deferrals.values())), self._alarms
            await self._database.call(self._write, msgspec.json.encode(kept), alarms, at)
            self._alarms, self._unsaved = self._alarms[len(alarms) :], False

    def _write(self, value: bytes, alarms: Sequence[dict[str, Any]], at: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (NAME, value))
            for alarm in alarms:
                notices.insert(connection, "Alarm", at, alarm)
