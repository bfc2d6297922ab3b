"""Holds made at the hub: one row a site, gone when it is over."""

import sqlite3

import msgspec

from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import HubHold


class HoldRow(msgspec.Struct, frozen=True):
    """Times are milliseconds since 1970 by the hub's clock. `resources` empty: everything at the site."""

    id: str
    site: SiteName
    reason: str
    resources: tuple[str, ...]
    seconds: int
    until: int
    author: str
    at: int

    def carried(self) -> HubHold:
        """Return it as the site's target says it."""
        return HubHold(self.id, self.reason, self.until, self.seconds, self.author, self.resources)


def load(connection: sqlite3.Connection) -> list[HoldRow]:
    rows = connection.execute(f"SELECT {', '.join(HoldRow.__struct_fields__)} FROM holds ORDER BY id")  # noqa: S608 (constants)
    return [_row(dict(zip(HoldRow.__struct_fields__, row, strict=True))) for row in rows]


def _row(values: dict[str, object]) -> HoldRow:
    values["resources"] = msgspec.json.decode(str(values["resources"]))
    return msgspec.convert(values, HoldRow)


def put(connection: sqlite3.Connection, row: HoldRow) -> None:
    resources = msgspec.json.encode(row.resources).decode()
    values = (row.id, row.site, row.reason, resources, row.seconds, row.until, row.author, row.at)
    connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def delete(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM holds WHERE id = ?", (name,))
