"""hub.db: opening it, whose it is, and how the event loop reads and writes it."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from holdfast_protocol.errors import PermanentError
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire.names import FleetName, Partition

R = TypeVar("R")


class Store:
    """hub.db and the partitions of it this process owns."""

    def __init__(self, database: Database, partitions: Sequence[Partition]) -> None:
        self.database: Final = database
        self.partitions: Final = tuple(partitions)

    async def read(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """Run a function that only reads, in the database's thread."""

        def reading() -> R:
            with self.database.reading() as connection:
                return function(connection)

        return await self.database.call(reading)

    async def write(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """Run a function in one transaction, in the database's thread; what it returns is committed."""

        def writing() -> R:
            with self.database.transaction() as connection:
                return function(connection)

        return await self.database.call(writing)

    def close(self) -> None:
        self.database.close()


def open_hub(path: Path, fleet: FleetName, partitions: Sequence[Partition]) -> Store:
    """Open and migrate hub.db. Raises PermanentError `WrongFleet` for the database of another fleet."""
    database = Database(path, migrations("holdfast_hub.store"))
    with database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('fleet', ?) ON CONFLICT DO NOTHING", (fleet,))
        held = str(connection.execute("SELECT value FROM meta WHERE key = 'fleet'").fetchone()[0])
    if held != fleet:
        database.close()
        raise PermanentError(
            f"{path} belongs to fleet {held!r}, not {fleet!r}",
            reason="WrongFleet",
            hint="name the fleet it belongs to, or another data folder",
        )
    return Store(database, partitions)


def key_of(store: Store) -> str:
    """Return the name of the key this hub signs with since its first start, "" before that. Blocks."""
    with store.database.reading() as connection:
        row = one(connection, "SELECT value FROM meta WHERE key = 'signer'")
    return str(row[0]) if row is not None else ""


def keep_key(store: Store, keyid: str) -> None:
    """Remember, durably, which key sites are told to believe. Blocks."""
    with store.database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('signer', ?) ON CONFLICT DO NOTHING", (keyid,))


def owned(partitions: Sequence[Partition]) -> tuple[str, list[str]]:
    """Return the SQL condition, and its parameters, for rows of these partitions."""
    return f"partition IN ({','.join('?' * len(partitions))})", list(partitions)


def one(connection: sqlite3.Connection, query: str, *parameters: object) -> tuple[object, ...] | None:
    """Return the first row, None when there is none."""
    row: tuple[object, ...] | None = connection.execute(query, parameters).fetchone()
    return row
