"""Instances: as written, where they go, and the resources they were rendered to."""

import sqlite3
from typing import Final

import msgspec
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.target import Resource

from holdfast_hub.core.placement import Placement


class InstanceRow(msgspec.Struct, frozen=True):
    kind: str
    name: str
    blueprint: str
    digest: str  # of `source`
    source: str  # the document as written
    file: str
    line: int  # lines of the file before the document
    revision: int  # the blueprint's revision that last changed `resources`
    placement: Placement | None
    resources: tuple[Resource, ...]
    author: str
    at: int  # milliseconds since 1970

    @property
    def owner(self) -> str:
        """Kind/name: what the instance is called in targets, reports and collisions."""
        return f"{self.kind}/{self.name}"


_FIELDS: Final = tuple(InstanceRow.__struct_fields__)
_PLACEMENT: Final = msgspec.json.Decoder(Placement | None)
_RESOURCES: Final = msgspec.json.Decoder(tuple[Resource, ...])


def load(connection: sqlite3.Connection) -> list[InstanceRow]:
    rows = connection.execute(f"SELECT {', '.join(_FIELDS)} FROM instances ORDER BY kind, name")  # noqa: S608 (constants)
    return [_row(dict(zip(_FIELDS, row, strict=True))) for row in rows]


def _row(values: dict[str, object]) -> InstanceRow:
    placement = _PLACEMENT.decode(str(values["placement"]))
    resources = _RESOURCES.decode(bytes(values["resources"]))  # type: ignore[call-overload]
    return InstanceRow(**{**values, "placement": placement, "resources": resources})  # type: ignore[arg-type]


def put(connection: sqlite3.Connection, row: InstanceRow) -> None:
    values = msgspec.structs.asdict(row)
    values["placement"] = strict.encode(row.placement).decode()
    values["resources"] = strict.encode(row.resources)
    connection.execute(
        f"INSERT OR REPLACE INTO instances ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})",  # noqa: S608 (constants)
        [values[field] for field in _FIELDS],
    )


def delete(connection: sqlite3.Connection, kind: str, name: str) -> None:
    connection.execute("DELETE FROM instances WHERE kind = ? AND name = ?", (kind, name))
