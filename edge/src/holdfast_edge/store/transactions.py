"""Transactions on disk: how far the newest target is, which target the machine is kept at, and what was gone back from.

A step of the transaction is one commit: its state, the roles of the targets, the bad digests, its line in the journal and
what is said of it. The side copies (last-good, signed, and this state) bring it back when the database was damaged.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.core.transaction import BACK, FORWARD, Transaction
from holdfast_edge.store import copies
from holdfast_edge.store.edge import decoded
from holdfast_edge.store.targets import Targets, assign
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Cause

KEPT_BAD: Final = 20
KEEP_EVERY: Final = 10.0  # seconds of a phase that a kill may make us count again
MAX_COPY: Final = 1024 * 1024  # bytes
_NAME: Final = "transaction"


class Bad(msgspec.Struct, frozen=True):
    """A target that was gone back from."""

    digest: str
    generation: int
    cause: Cause
    at: int  # milliseconds since 1970


class _Copy(msgspec.Struct, frozen=True):
    transaction: Transaction
    bad: tuple[Bad, ...] = ()


class Transactions:
    """Loaded once, then written through. `current` changes with every look, on disk when it matters."""

    def __init__(self, database: Database, folder: Path, targets: Targets) -> None:
        self._database = database
        self._copy = folder / copies.TRANSACTION
        self._targets = targets
        with database.reading() as connection:
            row = connection.execute("SELECT value FROM memory WHERE name = ?", (_NAME,)).fetchone()
            rows = connection.execute("SELECT digest, generation, cause, at FROM bad ORDER BY number DESC").fetchall()
        self.bad = tuple(Bad(digest, number, decoded(cause, Cause), at) for digest, number, cause, at in rows)
        self.current: Transaction | None = decoded(row[0], Transaction) if row else None
        self.note = ""
        if self.current is None:
            self._recover()
        self._kept = self.current

    def _recover(self) -> None:
        """Take the side copy: the database was lost. What was under way begins again with its preparation; what was gone
        back from is not tried again."""
        try:
            copied = msgspec.json.decode(copies.read(self._copy, MAX_COPY) or b"{}", type=_Copy)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        newest, it = self._targets.current, copied.transaction
        if newest is None:
            return
        ours = (it.epoch, it.generation, it.digest) == (*newest.position, newest.digest)
        if ours and (it.stage in BACK or it.stage == "stable"):
            self._commit(it, copied.bad, 0)
        elif copied.bad:
            self._commit(None, copied.bad, 0)

    async def move(self, it: Transaction, *, at: int) -> None:
        """Follow a look; commit when the stage or its cause changed, or enough time was counted."""
        kept = self._kept
        same = kept is not None and (kept.stage, kept.cause, kept.digest, kept.generation) == (
            it.stage,
            it.cause,
            it.digest,
            it.generation,
        )
        if same and kept is not None and it.spent - kept.spent < KEEP_EVERY and it.restarts == kept.restarts:
            self.current = it
            return
        bad = self.bad
        if it.stage in ("rolling-back", "rejected") and it.cause is not None and not same:
            others = tuple(each for each in bad if each.digest != it.digest)
            bad = (Bad(it.digest, it.generation, it.cause, at), *others)[:KEPT_BAD]
        elif it.stage == "preparing" and not same:  # it is tried: a newer target, or a person, said so
            bad = tuple(each for each in bad if each.digest != it.digest)
        await self._database.call(self._commit, it, bad, at)

    def _commit(self, it: Transaction | None, bad: tuple[Bad, ...], at: int) -> None:
        old = self.current
        moved = it is not None and (old is None or (old.stage, old.generation) != (it.stage, it.generation))
        with self._database.transaction() as connection:
            if it is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (_NAME, msgspec.json.encode(it))
                )
                if moved:
                    _note(connection, it, at)
                    self._assign(connection, it, at)
            connection.execute("DELETE FROM bad")
            connection.executemany(
                "INSERT INTO bad (digest, generation, cause, at, number) VALUES (?, ?, ?, ?, ?)",
                [
                    (each.digest, each.generation, msgspec.json.encode(each.cause), each.at, len(bad) - number)
                    for number, each in enumerate(bad)
                ],
            )
        self.current, self._kept, self.bad = it, it, bad
        self._targets.reload()
        if it is not None and (moved or self.note):
            self._write_copies(it, bad)

    def _assign(self, connection: sqlite3.Connection, it: Transaction, at: int) -> None:
        """Give the targets their roles at this stage; only `preparing` leaves the machine at what it was kept at."""
        numbers = dict(connection.execute("SELECT role, target FROM roles"))
        if it.stage in FORWARD and "current" in numbers:
            assign(connection, "held", numbers["current"], at, it.stage)
        if it.stage in BACK and "last-good" in numbers:
            assign(connection, "held", numbers["last-good"], at, it.stage)
        if it.stage == "stable" and "current" in numbers:
            assign(connection, "last-good", numbers["current"], at, "stable for its soak time")

    def _write_copies(self, it: Transaction, bad: tuple[Bad, ...]) -> None:
        try:
            self._targets.copy_last_good()
            copies.write(self._copy, msgspec.json.encode(_Copy(it, bad)))
            self.note = ""
        except TransientError as error:  # the next step writes them; the database has all of it
            self.note = f"the copies of the transaction are not written: {error.message}"


def _note(connection: sqlite3.Connection, it: Transaction, at: int) -> None:
    message = f"{it.cause.reason}: {it.cause.message}"[:500] if it.cause is not None else ""
    connection.execute(
        "INSERT INTO journal (key, action, digest, began_at, ended_at, outcome, message) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (f"generation {it.generation}", it.stage, it.digest, at, at, "done", message),
    )
