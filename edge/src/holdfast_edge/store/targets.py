"""Targets: the newest one, the one the machine is kept at, the one it was last stable at, and what was refused.

Order: a target is committed here, then copied beside the database, then acknowledged. [inv: commit-before-ack]
The position (epoch, generation) only grows, also across a damaged or restored database. [inv: target-never-goes-back]
Not here: verification (wire/target.py), the message (link/inbox.py), who gets which role (transactions.py).
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
        self._good_copy = folder / copies.LAST_GOOD
        self._trust = trust
        self._notes: tuple[str, ...] = ()
        self._behind = False  # the copy is older than what is held
        self._counted: dict[str, tuple[int, int]] = {}  # by reason: refusals not written yet, when one last was
        self._decoded: dict[int, Target] = {}  # by row
        self.reload()
        self._recover()
        self._recover_last_good()

    def reload(self) -> None:
        """Read who has which role; what was read before stays the same object."""
        with self._database.reading() as connection:
            roles = dict(connection.execute("SELECT role, target FROM roles").fetchall())
            rows = {
                number: connection.execute("SELECT payload, digest FROM targets WHERE id = ?", (number,)).fetchone()
                for number in set(roles.values()) - self._decoded.keys()
            }
            self._refused = dict(connection.execute("SELECT reason, message FROM refused"))
        known = {**self._decoded, **{number: _decoded(*row) for number, row in rows.items()}}
        self._decoded = {number: known[number] for number in roles.values()}
        held = {role: known[number] for role, number in roles.items()}
        self.current: Target | None = held.get("current")  # the newest accepted
        self.held: Target | None = held.get("held")  # what the machine is kept at, or brought to
        self.last_good_target: Target | None = held.get("last-good")

    @property
    def last_good(self) -> str:
        """The digest of the last stable target, "" while there is none."""
        return self.last_good_target.digest if self.last_good_target else ""

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
                copies.write(self._copy, self._envelope("current"))
            except TransientError as error:  # a full disk at start stops no repair
                self._behind = True
                self._notes = (f"the copy of the target is not written: {error.message}",)

    def _recover_last_good(self) -> None:
        """Take the copy of last-good when the database knows none: it was lost, and this is what it may go back to."""
        if self.last_good_target is not None or self.current is None:
            return
        data = copies.read(self._good_copy, topics.TABLE["target"].limit)
        try:
            copied = self._open(data, held=False) if data else None
        except WireError as error:
            self._notes = (*self._notes, f"{self._good_copy.name} cannot be used: {error.reason}")
            return
        if copied is None or copied.position > self.current.position:
            return
        with self._database.transaction() as connection:
            number = _insert(connection, copied, data, copied.issued_at, "recovered from the side copy")
            for role in ("last-good", "held"):
                assign(connection, role, number, copied.issued_at, "recovered from the side copy")
        self.reload()

    def copy_last_good(self) -> None:
        """Bring the side copy up to date. Raises TransientError when the disk refuses. For the database's thread."""
        envelope = self._envelope("last-good")
        if envelope and copies.read(self._good_copy, topics.TABLE["target"].limit) != envelope:
            copies.write(self._good_copy, envelope)

    def _envelope(self, role: str) -> bytes:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT envelope FROM roles JOIN targets ON targets.id = roles.target WHERE role = ?", (role,)
            ).fetchone()
        return bytes(row[0]) if row else b""

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
                assign(connection, "current", _insert(connection, target, envelope, at, reason), at, reason)
                connection.execute("DELETE FROM refused")
            self.reload()
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


def _insert(connection: sqlite3.Connection, target: Target, envelope: bytes, at: int, reason: str) -> int:
    """Add a target, or return the number of the row it has already."""
    connection.execute(
        "INSERT OR IGNORE INTO targets (epoch, generation, digest, envelope, payload, at, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*target.position, target.digest, envelope, strict.encode(target), at, reason),
    )
    (number,) = connection.execute(
        "SELECT id FROM targets WHERE (epoch, generation) = (?, ?)", target.position
    ).fetchone()
    return int(number)


def assign(connection: sqlite3.Connection, role: str, number: int, at: int, reason: str) -> None:
    """Give a target a role inside the caller's transaction; targets left without one go."""
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
