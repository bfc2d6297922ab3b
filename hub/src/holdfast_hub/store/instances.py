"""Instances: as written, where they go, and the resources they were rendered to."""

import sqlite3
from typing import Any, Final

import msgspec

from holdfast_hub.core.placement import Placement
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.program import Program
from holdfast_protocol.wire.target import Resource


class InstanceRow(msgspec.Struct, frozen=True):
    kind: str
    name: str
    blueprint: str
    digest: str  # of `source`
    source: str  # the document as written
    file: str
    line: int  # lines of the file before the document
    revision: int  # the blueprint's revision that last changed `resources`
    spec: dict[str, Any]  # its values, defaults filled in
    placement: Placement | None
    resources: tuple[Resource, ...]
    author: str
    at: int  # milliseconds since 1970
    pin: int = 0  # the blueprint revision it is to keep; 0: it follows the newest
    program: Program | None = None  # what its sites evaluate; None: its resources say everything

    @property
    def owner(self) -> str:
        """Kind/name: what the instance is called in targets, reports and collisions."""
        return f"{self.kind}/{self.name}"


_FIELDS: Final = tuple(InstanceRow.__struct_fields__)
_PLACEMENT: Final = msgspec.json.Decoder(Placement | None)
_RESOURCES: Final = msgspec.json.Decoder(tuple[Resource, ...])
_PROGRAM: Final = msgspec.json.Decoder(Program | None)


def load(connection: sqlite3.Connection) -> list[InstanceRow]:
    rows = connection.execute(f"SELECT {', '.join(_FIELDS)} FROM instances ORDER BY kind, name")  # noqa: S608 (constants)
    return [_row(dict(zip(_FIELDS, row, strict=True))) for row in rows]


def _row(values: dict[str, Any]) -> InstanceRow:
    values["spec"] = msgspec.json.decode(values["spec"])
    values["placement"] = _PLACEMENT.decode(values["placement"])
    values["resources"] = _RESOURCES.decode(values["resources"])
    values["program"] = _PROGRAM.decode(values["program"])
    return InstanceRow(**values)


def put(connection: sqlite3.Connection, row: InstanceRow) -> None:
    values = msgspec.structs.asdict(row)
    values["spec"] = strict.encode(row.spec).decode()
    values["placement"] = strict.encode(row.placement).decode()
    values["resources"] = msgspec.json.encode(row.resources)  # in the author's order: they are shown and ejected
    values["program"] = strict.encode(row.program).decode()
    connection.execute(
        f"INSERT OR REPLACE INTO instances ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})",  # noqa: S608 (constants)
        [values[field] for field in _FIELDS],
    )


def delete(connection: sqlite3.Connection, kind: str, name: str) -> None:
    connection.execute("DELETE FROM instances WHERE kind = ? AND name = ?", (kind, name))
