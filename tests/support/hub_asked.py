"""Hubs as a test asks them: their history, everything they hold, what they hear."""

import sqlite3
from typing import Any

from holdfast_hub.operations.hub import Hub


async def everything(hub: Hub) -> list[Any]:
    """Return every row of hub.db but the audit's times."""

    def rows(connection: sqlite3.Connection) -> list[Any]:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(name, connection.execute(f"SELECT * FROM {name}").fetchall()) for name in sorted(names)]

    return await hub.store.read(rows)
