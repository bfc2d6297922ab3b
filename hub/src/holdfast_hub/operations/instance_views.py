"""Blueprints and their instances, each with how far it is, for reading."""

import sqlite3
from typing import Any

import msgspec

from holdfast_hub.core.convergence import Judgement, worst
from holdfast_hub.operations.fleet import stored_document
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.scene import HISTORY, WORST_FIRST, Scene
from holdfast_hub.store import audit, blueprints
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.wire.messages import InstanceStatus
from holdfast_protocol.wire.names import SiteName


class InstanceItem(msgspec.Struct, frozen=True):
    name: str
    kind: str
    blueprint: str
    revision: int  # of the blueprint: the one it keeps, or the newest
    newest: int  # revision of the blueprint
    pinned: bool
    sites: int
    converged: int
    state: str
    changed: int
    phase: str = ""  # the worst of its sites' words, ERROR, IN_PROGRESS or ACTIVE; "" when they evaluate nothing of it


class SiteState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an instance is at one site; `phase` (kro's word) and what follows are as the site evaluates them."""

    site: str
    state: str
    message: str
    phase: str = ""  # ACTIVE, IN_PROGRESS or ERROR; "" when the site evaluates nothing, or said nothing yet
    status: dict[str, Any] = {}
    conditions: tuple[dict[str, str], ...] = ()
    problem: str = ""


class BlueprintItem(msgspec.Struct, frozen=True):
    name: str
    kind: str
    revision: int
    instances: int
    changed: int


def instance_item(scene: Scene, row: InstanceRow) -> tuple[InstanceItem, list[SiteState]]:
    fleet = scene.hub.fleet
    states = [(site, scene.instance(row, site)) for site in fleet.sites_of(row.owner)]
    whole = worst(judgement for _, judgement in states)
    newest = fleet.blueprints[row.blueprint].revision
    said = {site: each for site, _ in states if (each := scene.evaluated(row, site)) is not None}
    item = InstanceItem(
        row.name,
        row.kind,
        row.blueprint,
        row.pin or newest,
        newest,
        row.pin != 0,
        len(states),
        sum(1 for _, judgement in states if judgement.state == "Converged"),
        whole.state if states else "Unplaced",
        row.at,
        min((each.state for each in said.values()), key=WORST_FIRST.index, default=""),
    )
    return item, [_site_state(site, judgement, said.get(site)) for site, judgement in states]


def _site_state(site: SiteName, judgement: Judgement, said: InstanceStatus | None) -> SiteState:
    if said is None:
        return SiteState(site, judgement.state, judgement.message)
    return SiteState(site, judgement.state, judgement.message, said.state, said.status, said.conditions, said.problem)


async def list_instances(hub: Hub) -> list[InstanceItem]:
    def listing(connection: sqlite3.Connection) -> list[InstanceItem]:
        scene = Scene(hub, connection)
        return [instance_item(scene, row)[0] for _, row in sorted(hub.fleet.instances.items())]

    return await hub.store.read(listing)


async def show_instance(hub: Hub, name: str) -> dict[str, Any]:
    """Return one instance with its source and how far each of its sites is."""

    def showing(connection: sqlite3.Connection) -> dict[str, Any]:
        row = hub.fleet.instance(name)
        item, states = instance_item(Scene(hub, connection), row)
        return {
            **msgspec.to_builtins(item),
            "source": row.source,
            "file": row.file,
            "author": row.author,
            "values": row.spec,
            "placement": (stored_document(row).value.get("spec") or {}).get("placement"),
            "site_states": states,
            "resources": [{"id": each.id, "key": each.key} for each in row.resources],
            "decided_at_the_site": [
                {"id": late.id, "kind": late.kind, "why": late.why}
                for instance in (row.program.instances if row.program else ())
                for late in instance.late
            ],
            "history": audit.newest(connection, HISTORY, row.owner),
        }

    return await hub.store.read(showing)


async def list_blueprints(hub: Hub) -> list[BlueprintItem]:
    def listing(_: sqlite3.Connection) -> list[BlueprintItem]:
        return [blueprint_item(hub, row) for _, row in sorted(hub.fleet.blueprints.items())]

    return await hub.store.read(listing)


def blueprint_item(hub: Hub, row: BlueprintRow) -> BlueprintItem:
    held = sum(1 for each in hub.fleet.instances.values() if each.blueprint == row.name)
    return BlueprintItem(row.name, row.kind, row.revision, held, row.at)


async def show_blueprint(hub: Hub, name: str) -> dict[str, Any]:
    """Return one blueprint with its source, its resources' ids and kinds, and its revisions, newest first."""

    def showing(connection: sqlite3.Connection) -> dict[str, Any]:
        row = hub.fleet.blueprint(name)
        entries = stored_document(row).value["spec"].get("resources", [])
        return {
            **msgspec.to_builtins(blueprint_item(hub, row)),
            "source": row.source,
            "file": row.file,
            "author": row.author,
            "resources": [
                {"id": entry.get("id", ""), "kind": (entry.get("template") or {}).get("kind", "")} for entry in entries
            ],
            "revisions": [
                {"revision": each.revision, "author": each.author, "at": each.at, "digest": each.digest}
                for each in blueprints.revisions(connection, name)
            ],
            "history": audit.newest(connection, HISTORY, f"Blueprint/{name}"),
        }

    return await hub.store.read(showing)
