"""Placed objects: as written, what they say, and where they go."""

import sqlite3
from typing import Any, Final

import msgspec

from holdfast_hub.core.placement import Placement
from holdfast_protocol.wire import strict


class ObjectRow(msgspec.Struct, frozen=True):
    kind: str
    name: str
    digest: str  # of `source`
    source: str  # the document as written
    file: str
    line: int  # lines of the file before the document
    spec: dict[str, Any]  # without placement
    placement: Placement
    author: str
    at: int  # milliseconds since 1970

    @property
    def owner(self) -> str:
        """Kind/name."""
        return f"{self.kind}/{self.name}"


_FIELDS: Final = tuple(ObjectRow.__struct_fields__)
_PLACEMENT: Final = msgspec.json.Decoder(Placement)


def load(connection: sqlite3.Connection) -> list[ObjectRow]:
    rows = connection.execute(f"SELECT {', '.join(_FIELDS)} FROM objects ORDER BY kind, name")  # noqa: S608 (constants)
    return [_row(dict(zip(_FIELDS, row, strict=True))) for row in rows]


def _row(values: dict[str, Any]) -> ObjectRow:
    values["spec"] = msgspec.json.decode(values["spec"])
    values["placement"] = _PLACEMENT.decode(values["placement"])
    return ObjectRow(**values)


def put(connection: sqlite3.Connection, row: ObjectRow) -> None:
    values = msgspec.structs.asdict(row)
    values["spec"] = msgspec.json.encode(row.spec).decode()  # in the author's order: it is shown
    values["placement"] = strict.encode(row.placement).decode()
    connection.execute(
        f"INSERT OR REPLACE INTO objects ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})",  # noqa: S608 (constants)
        [values[field] for field in _FIELDS],
    )


def delete(connection: sqlite3.Connection, kind: str, name: str) -> None:
    connection.execute("DELETE FROM objects WHERE kind = ? AND name = ?", (kind, name))
