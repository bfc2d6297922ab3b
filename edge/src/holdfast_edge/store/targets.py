"""Targets: the one this site should be, the one it was last stable at, and what was refused.

Order: a target is committed here, then copied beside the database, then acknowledged. [inv: commit-before-ack]
The position (epoch, generation) only grows, also across a damaged or restored database. [inv: target-never-goes-back]
Not here: verification (wire/target.py), the message (link/inbox.py).
"""

import sqlite3
from pathlib import Path

import msgspec

from holdfast_edge.core import order
from holdfast_edge.store import copies, notices
from holdfast_protocol.errors import PermanentError, TransientError, WireError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import strict, topics
from holdfast_protocol.wire.messages import REFUSED, TargetReport
from holdfast_protocol.wire.names import FleetName, SiteName
from holdfast_protocol.wire.target import Expected, Target, open_target

NOTICE_EVERY = 60_000  # milliseconds between two notices about one reason of refusal
MAX_TEXT = 300


class Trust(msgspec.Struct, frozen=True):
    """Whom this site believes: raw public keys by name, and the epoch that introduced each."""

    fleet: FleetName
    site: SiteName
    keys: dict[str, bytes]
    epochs: dict[str, int]
    threshold: int = 1


class Targets:
    """Loaded once, then written through: reads cost nothing."""

    def __init__(self, database: Database, folder: Path, trust: Trust) -> None:
        """Load, and take the side copy when it is ahead of the database."""
        self._database = database
        self._copy = folder / copies.TARGET
        self._trust = trust
        self._notes: tuple[str, ...] = ()
        self._behind = False  # the copy is older than what is held
        self._counted: dict[str, tuple[int, int]] = {}  # by reason: refusals not written yet, when one last was
        self._load()
        self._recover()

    def _load(self) -> None:
        with self._database.reading() as connection:
            roles = connection.execute(
                "SELECT role, payload, digest FROM roles JOIN targets ON targets.id = roles.target"
            ).fetchall()
            self._refused = dict(connection.execute("SELECT reason, message FROM refused"))
        held = {role: _decoded(payload, digest) for role, payload, digest in roles}
        self.current: Target | None = held.get("current")
        last_good = held.get("last-good")
        self.last_good = last_good.digest if last_good else ""

    def _recover(self) -> None:
        limit = topics.TABLE["target"].limit
        data = copies.read(self._copy, limit)
        try:
            copied = self._open(data, held=False) if data else None
        except WireError as error:
            copied = None
            self._notes = (f"{self._copy.name} cannot be used: {error.reason}",)
        if copied is not None and copied.position > self._position():
            self._accept(copied, data, copied.issued_at, "recovered from the side copy")
        elif self.current is not None and (copied is None or copied.position < self._position()):
            try:
                copies.write(self._copy, self._envelope())
            except TransientError as error:  # a full disk at start stops no repair
                self._behind = True
                self._notes = (f"the copy of the target is not written: {error.message}",)

    def _envelope(self) -> bytes:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT envelope FROM roles JOIN targets ON targets.id = roles.target WHERE role = 'current'"
            ).fetchone()
        return bytes(row[0])

    def _position(self) -> tuple[int, int]:
        return self.current.position if self.current else (0, 0)

    def open(self, envelope: bytes) -> Target:
        """Return the target in an envelope if it may be accepted now; raises WireError with the reason if not."""
        target = self._open(envelope, held=True)
        order.sequence(order.dependencies(target.content.resources))
        return target

    def _open(self, envelope: bytes, *, held: bool) -> Target:
        trust = self._trust
        expected = Expected(
            fleet=trust.fleet,
            site=trust.site,
            keys=trust.keys,
            epochs=trust.epochs,
            threshold=trust.threshold,
            held=self._position() if held else (0, 0),
            held_digest=self.current.digest if held and self.current else "",
        )
        return open_target(envelope, expected)

    def problems(self) -> tuple[str, ...]:
        """Return what a person should look at: refusals since the last accepted target, trouble with the copy."""
        refused = (f"{REFUSED}{reason}: {text}" for reason, text in sorted(self._refused.items()))
        return (*self._notes, *refused)

    async def accept(self, target: Target, envelope: bytes, *, at: int, reason: str) -> bool:
        """Commit an opened target; return whether it is news. The same one again changes nothing."""
        return await self._database.call(self._accept, target, envelope, at, reason)

    def _accept(self, target: Target, envelope: bytes, at: int, reason: str) -> bool:
        news = target.position > self._position()
        if news:
            with self._database.transaction() as connection:
                number = connection.execute(
                    "INSERT INTO targets (epoch, generation, digest, envelope, payload, at, reason)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*target.position, target.digest, envelope, strict.encode(target), at, reason),
                ).lastrowid
                _assign(connection, "current", number, at, reason)
                connection.execute("DELETE FROM refused")
            self.current = target
        elif self._refused:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM refused")
        self._refused = {}
        if news or self._behind or not self._copy.exists():
            self._behind = True
            copies.write(self._copy, envelope)
            self._behind, self._notes = False, ()
        return news

    async def refuse(self, error: WireError, envelope: bytes, *, at: int) -> None:
        """Record a refusal with a notice; one reason at most once a minute, the others only counted."""
        count, last = self._counted.get(error.reason, (0, at - NOTICE_EVERY))
        if abs(at - last) < NOTICE_EVERY:
            self._counted[error.reason] = (count + 1, last)
            return
        self._counted[error.reason] = (0, at)
        await self._database.call(self._refuse, error, envelope, at, count + 1)

    def _refuse(self, error: WireError, envelope: bytes, at: int, count: int) -> None:
        message = error.message[:MAX_TEXT]
        named = digests.digest_bytes(envelope)
        unsaid = f", {count - 1} more like it before" if count > 1 else ""
        report = TargetReport(
            level="A2",
            epoch=0,
            generation=0,
            digest="",
            outcome="rejected",
            reason=error.reason,
            message=f"{message}; envelope {named[:16]}, {len(envelope)} bytes{unsaid}",
        )
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO refused (reason, message, envelope, count, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count, last_at = excluded.last_at",
                (error.reason, message, named, count, at, at),
            )
            notices.insert(connection, "TargetReport", at, report)
        self._refused = {error.reason: message, **self._refused}

    async def settle(self, digest: str, *, at: int) -> None:
        """Make the current target last-good, if it is still the one of this digest."""
        await self._database.call(self._settle, digest, at)

    def _settle(self, digest: str, at: int) -> None:
        if self.current is None or self.current.digest != digest:
            return
        with self._database.transaction() as connection:
            (number,) = connection.execute("SELECT target FROM roles WHERE role = 'current'").fetchone()
            _assign(connection, "last-good", number, at, "stable for its soak time")
        self.last_good = self.current.digest


def _assign(connection: sqlite3.Connection, role: str, number: int | None, at: int, reason: str) -> None:
    connection.execute(
        "INSERT INTO roles (role, target, at, reason) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (role) DO UPDATE SET target = excluded.target, at = excluded.at, reason = excluded.reason",
        (role, number, at, reason),
    )
    connection.execute("DELETE FROM targets WHERE id NOT IN (SELECT target FROM roles)")


def _decoded(payload: bytes, digest: str) -> Target:
    """Return a stored target, or raise PermanentError `Damaged`: what a disk made of it is never acted on."""
    try:
        target = strict.decode(payload, Target, limit=len(payload))
    except WireError as error:
        raise PermanentError(f"a stored target is damaged: {error.message}", reason="Damaged") from error
    if digests.digest(target.content) != digest:
        raise PermanentError("a stored target is damaged: its digest differs", reason="Damaged")
    return target
