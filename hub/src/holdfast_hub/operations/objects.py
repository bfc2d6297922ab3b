"""Placed objects, for reading: what is there of each kind, and which sites it goes to."""

import sqlite3
from typing import Any

import msgspec

from holdfast_hub.blueprint.placed import KINDS
from holdfast_hub.operations.fleet import stored_document
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import audit
from holdfast_hub.store.objects import ObjectRow
from holdfast_protocol.errors import NotFoundError

HISTORY = 20  # audit events shown with one object


class ObjectItem(msgspec.Struct, frozen=True):
    name: str
    kind: str
    sites: int
    changed: int  # milliseconds since 1970, when it was last written


async def list_objects(hub: Hub, kind: str = "") -> list[ObjectItem]:
    """Return all placed objects, or those of one kind. Raises NotFoundError for a kind that there is not."""
    if kind:
        _check_kind(kind)

    def listing(_: sqlite3.Connection) -> list[ObjectItem]:
        rows = sorted(hub.fleet.objects.values(), key=lambda row: (row.kind, row.name))
        return [_item(hub, row) for row in rows if kind in ("", row.kind)]

    return await hub.store.read(listing)


async def show_object(hub: Hub, kind: str, name: str) -> dict[str, Any]:
    """Return one placed object with its source and its sites. Raises NotFoundError."""
    _check_kind(kind)

    def showing(connection: sqlite3.Connection) -> dict[str, Any]:
        row = hub.fleet.object(kind, name)
        return {
            **msgspec.to_builtins(_item(hub, row)),
            "source": row.source,
            "file": row.file,
            "author": row.author,
            "values": row.spec,
            "placement": (stored_document(row).value.get("spec") or {}).get("placement"),
            "placed_on": hub.fleet.sites_of(row.owner),
            "history": audit.newest(connection, HISTORY, row.owner),
        }

    return await hub.store.read(showing)


def _item(hub: Hub, row: ObjectRow) -> ObjectItem:
    return ObjectItem(row.name, row.kind, len(hub.fleet.sites_of(row.owner)), row.at)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise NotFoundError(f"no kind {kind[:80]!r}", resource=kind[:80], hint=f"one of {', '.join(KINDS)}")
