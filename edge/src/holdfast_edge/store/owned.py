"""Owned: what is ours, and only that is ever removed. [inv: only-owned-things-are-removed]

Ownership is written, also to the side copy, before the first effect: a thing we made is never lost sight of.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast_edge.core.diff import Owned
from holdfast_edge.core.order import Dependencies
from holdfast_edge.store import copies
from holdfast_edge.store.edge import decoded
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_COPY: Final = 64 * 1024 * 1024  # bytes
SLACK: Final = 500  # lines of the copy that may be past


class _Line(msgspec.Struct, frozen=True):
    key: ResourceKey
    thing: Owned | None  # None: no longer ours


class OwnedThings:
    """Loaded once, then written through. The side copy is a log of lines, replaced by a short one when it is mostly past."""

    def __init__(self, database: Database, folder: Path) -> None:
        """Load, and add what the side copy knows and the database does not (it was damaged, or is an old one)."""
        self._database = database
        self._copy = folder / copies.OWNED
        with database.reading() as connection:
            rows = connection.execute("SELECT key, body, digest, depends_on, instance, id FROM owned").fetchall()
        self._things = {
            ResourceKey(key): Owned(
                decoded(body, dict[str, Any]), digest, decoded(after, tuple[ResourceKey, ...]), instance, made_for
            )
            for key, body, digest, after, instance, made_for in rows
        }
        lost = {key: thing for key, thing in self._copied().items() if key not in self._things}
        if lost:
            with database.transaction() as connection:
                for key, thing in lost.items():
                    put(connection, key, thing)
            self._things |= lost
        self._lines = 0
        self._behind = True  # the copy lacks something; the next change writes it anew
        self.note = ""
        try:
            self._rewrite()
        except TransientError as error:  # a full disk at start stops no repair
            self.note = f"the copy of what is owned is not written: {error.message}"

    def _copied(self) -> dict[ResourceKey, Owned]:
        things: dict[ResourceKey, Owned] = {}
        for line in copies.read(self._copy, MAX_COPY).splitlines():
            try:
                entry = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # torn by a kill: its effect had not begun
            if entry.thing is None:
                things.pop(entry.key, None)
            else:
                things[entry.key] = entry.thing
        return things

    @property
    def things(self) -> Mapping[ResourceKey, Owned]:
        return self._things

    def claim(self, connection: sqlite3.Connection, resource: Resource, graph: Dependencies) -> Owned | None:
        """Own a thing before it is made, inside the caller's transaction; return what to `remember` after it, None when
        the thing is owned already: it keeps the body last applied. For the database's thread."""
        if resource.key in self._things and not self._behind:
            return None
        thing = self._things.get(resource.key) or Owned(
            resource.body, "", graph.get(resource.key, ()), resource.instance, resource.id
        )
        put(connection, resource.key, thing)
        return thing

    def remember(self, key: ResourceKey, thing: Owned | None, *, durable: bool) -> None:
        """Follow a committed `put` (or `drop`: None) in memory and in the copy. Raises TransientError when the copy
        cannot be written. `durable` before an effect; after one the older line does as well. For the database's thread.
        """
        things = {other: held for other, held in self._things.items() if other != key}
        self._things = {**things, key: thing} if thing else things
        if self._behind or self._lines > 2 * len(self._things) + SLACK:
            self._rewrite()
            return
        self._behind = True
        copies.append(self._copy, msgspec.json.encode(_Line(key, thing)) + b"\n", durable=durable)
        self._lines += 1
        self._behind = False

    def _rewrite(self) -> None:
        self._behind = True
        lines = [msgspec.json.encode(_Line(key, thing)) + b"\n" for key, thing in self._things.items()]
        copies.write(self._copy, b"".join(lines))
        self._lines = len(lines)
        self._behind, self.note = False, ""


def put(connection: sqlite3.Connection, key: ResourceKey, thing: Owned) -> None:
    """Write ownership inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO owned (key, body, digest, depends_on, instance, id) VALUES (?, ?, ?, ?, ?, ?)",
        (
            key,
            msgspec.json.encode(thing.body),
            thing.digest,
            msgspec.json.encode(thing.depends_on),
            thing.instance,
            thing.id,
        ),
    )


def drop(connection: sqlite3.Connection, key: ResourceKey) -> None:
    """End ownership inside the caller's transaction."""
    connection.execute("DELETE FROM owned WHERE key = ?", (key,))
