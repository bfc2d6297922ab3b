"""Orders to devices of this site: each id once, from the hub's word to the outcome the hub was told."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import msgspec

from holdfast_edge.store.whereabouts import Whereabouts
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.commands import Command, Outcome

FILE: Final = "orders.db"
MAX_BYTES: Final = 256 * 1024 * 1024  # of the file
MAX_ORDERS: Final = 5_000  # that have not ended
MAX_DEVICES: Final = 10_000  # with properties
KEPT: Final = 86_400_000  # milliseconds after its deadline that an id is remembered; later it is too late anyhow
_SELECT: Final = "SELECT id, device, name, data, deadline, state, outcome, reason, answer, at FROM orders "


class Order(msgspec.Struct, frozen=True):
    """A command as this site knows it; times in milliseconds since 1970. `outcome` "" until it has ended."""

    id: str
    device: str
    name: str
    data: Any
    deadline: int
    state: Literal["taken", "given", "ended"]
    outcome: Outcome | Literal[""]
    reason: str
    answer: Any
    at: int


class Desired(msgspec.Struct, frozen=True):
    device: str
    id: str
    version: int
    properties: dict[str, Any]


class Orders:
    """INVARIANTS: an id is given at most once, also across a kill; its first outcome is its only one.

    `changed` is set, and replaced, whenever there may be something to do. `whereabouts`: at which source devices are.
    """

    def __init__(self, folder: Path, now: int) -> None:
        """Open orders.db. One that is damaged is set aside, `damage` says where: then nothing that was ordered before
        `now` is given, for it may have been already."""
        self.damage = ""
        self.changed = anyio.Event()
        try:
            self._database = _opened(folder)
        except PermanentError as error:
            if error.reason != "Damaged":
                raise
            for end in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    (folder / f"{FILE}{end}").rename(folder / f"{FILE}{end}.damaged")
            self.damage = f"{error.message}; set aside as {FILE}.damaged, commands from before are refused"
            self._database = _opened(folder)
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO made SELECT ? WHERE NOT EXISTS (SELECT 1 FROM made)", (now,))
            (self._made,) = connection.execute("SELECT at FROM made").fetchone()
        self.whereabouts = Whereabouts(self._database, self._tell)

    def close(self) -> None:
        self._database.close()

    async def take(self, command: Command, now: int) -> None:
        """Store what the hub said; of what is known already the reply is given again. [inv: commit-before-ack]

        Raises TransientError when there is no room.
        """
        await self._database.call(self._take, command, now)
        self._tell()

    def _take(self, command: Command, now: int) -> None:
        with self._database.transaction() as connection:
            if command.verb == "desire":
                _desire(connection, command, now)
                return
            connection.execute("DELETE FROM orders WHERE state = 'ended' AND deadline < ?", (now - KEPT,))
            if connection.execute("UPDATE orders SET replied = 0 WHERE id = ?", (command.id,)).rowcount:
                return
            (held,) = connection.execute("SELECT count(*) FROM orders WHERE state != 'ended'").fetchone()
            if held >= MAX_ORDERS:
                raise TransientError(f"{held} commands wait here", reason="TooManyCommands")
            connection.execute(
                "INSERT INTO orders (id, device, name, data, deadline, at) VALUES (?, ?, ?, ?, ?, ?)",
                (command.id, command.device, command.name, _text(command.data), command.deadline, now),
            )
            if command.at < self._made:
                connection.execute(
                    "UPDATE orders SET state = 'ended', outcome = 'failed', reason = 'StartedAnew' WHERE id = ?",
                    (command.id,),
                )

    async def open(self) -> list[Order]:
        """Return what has not ended, the first to be over first."""
        return await self._database.call(self._orders, "WHERE state != 'ended' ORDER BY deadline, id")

    async def unreplied(self) -> list[Order]:
        """Return what has ended and the hub was not told."""
        return await self._database.call(
            self._orders, "WHERE state = 'ended' AND replied = 0 ORDER BY at, id LIMIT 100"
        )

    def _orders(self, which: str) -> list[Order]:
        with self._database.reading() as connection:
            return [_order(row) for row in connection.execute(_SELECT + which)]

    async def give(self, name: str) -> bool:
        """Note that an order is about to be published; False when it was before: then it must not be again.

        [inv: intent-before-effect]"""
        return await self._database.call(
            self._change, "UPDATE orders SET state = 'given' WHERE id = ? AND state = 'taken'", (name,)
        )

    async def end(self, name: str, device: str, outcome: Outcome, reason: str, answer: Any, now: int) -> bool:
        """End an order of a device; False for one that is unknown or has ended."""
        ended = await self._database.call(
            self._change,
            "UPDATE orders SET state = 'ended', outcome = ?, reason = ?, answer = ?, at = ?"
            " WHERE id = ? AND device = ? AND state != 'ended'",
            (outcome, reason, _text(answer), now, name, device),
        )
        self._tell()
        return ended

    async def replied(self, name: str) -> None:
        await self._database.call(self._change, "UPDATE orders SET replied = 1 WHERE id = ?", (name,))

    def _change(self, query: str, values: tuple[Any, ...]) -> bool:
        with self._database.transaction() as connection:
            return connection.execute(query, values).rowcount == 1

    async def desired(self, *, unreplied: bool = False) -> list[Desired]:
        """Return what devices shall be, of all, or of those whose taking the hub was not told."""
        return await self._database.call(self._desired, unreplied)

    def _desired(self, unreplied: bool) -> list[Desired]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT device, id, version, properties FROM desired WHERE ? = 0 OR replied = 0 ORDER BY device",
                (unreplied,),
            )
            return [Desired(device, name, version, msgspec.json.decode(text)) for device, name, version, text in rows]

    async def replied_desired(self, wanted: Desired) -> None:
        query = "UPDATE desired SET replied = 1 WHERE device = ? AND version = ?"
        await self._database.call(self._change, query, (wanted.device, wanted.version))

    def _tell(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


def _opened(folder: Path) -> Database:
    return Database(folder / FILE, migrations("holdfast_edge.store", "schema_orders"), max_bytes=MAX_BYTES)


def _desire(connection: sqlite3.Connection, command: Command, now: int) -> None:
    """Keep the newest version; one that is here already is replied to again."""
    (held,) = connection.execute("SELECT count(*) FROM desired WHERE device != ?", (command.device,)).fetchone()
    if held >= MAX_DEVICES:
        raise TransientError(f"{held} devices have properties here", reason="TooManyDevices")
    connection.execute(
        "INSERT INTO desired (device, id, version, properties, at) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT DO UPDATE SET id = ?2, version = ?3, properties = ?4, at = ?5, replied = 0 WHERE version <= ?3",
        (command.device, command.id, command.version, _text(command.data), now),
    )


def _text(value: Any) -> str:
    return strict.encode(value).decode()


def _order(row: tuple[Any, ...]) -> Order:
    name, device, verb, data, deadline, state, outcome, reason, answer, at = row
    return Order(
        name,
        device,
        verb,
        msgspec.json.decode(data),
        deadline,
        state,
        outcome,
        reason,
        msgspec.json.decode(answer),
        at,
    )
