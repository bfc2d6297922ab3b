"""What is there, for reading: blueprints, instances, sites and nodes, each with how far it is."""

import sqlite3
from typing import Any, Final

import msgspec

from holdfast_hub.core.convergence import (
    SILENCE,
    Desired,
    Judgement,
    Reported,
    instance_judgement,
    is_online,
    site_judgement,
    worst,
)
from holdfast_hub.operations.fleet import KnownSite, stored_document
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.placement import chosen_sites
from holdfast_hub.operations.progress import progress_row
from holdfast_hub.store import audit, blueprints, sites, status, targets
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_hub.store.status import NodeRow
from holdfast_hub.store.targets import TargetRow
from holdfast_protocol.errors import ConflictError, NotFoundError
from holdfast_protocol.wire.messages import InstanceStatus
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import Content

HISTORY: Final = 20  # audit events shown with one object
_PHASES: Final = ("ERROR", "IN_PROGRESS", "ACTIVE")  # of an instance at its sites, worst first


class NodeView(msgspec.Struct, frozen=True):
    name: str
    site: str
    online: bool
    last_seen: int | None  # milliseconds since 1970; None for never
    agent: str
    boot_id: str
    generation: int  # of the target it holds
    facts: dict[str, str]


class SiteItem(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str]
    zones: tuple[str, ...]
    region: str
    provider: str
    time_zone: str
    state: str
    message: str
    online: bool
    last_seen: int | None
    generation: int  # desired; 0 when it has no target
    observed_generation: int  # the lowest its nodes hold
    instances: tuple[str, ...]  # Kind/name
    nodes: tuple[str, ...]


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
    created: int
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
    created: int


class Scene:
    """Everything needed to judge sites, read at one moment; for the database's thread."""

    def __init__(self, hub: Hub, connection: sqlite3.Connection, site: SiteName | None = None) -> None:
        self.hub = hub
        self.now = hub.now()
        self.newest: dict[SiteName, TargetRow] = {}
        if site is None:
            self.newest = targets.all_newest(connection, hub.partitions)
        elif row := targets.newest(connection, site):
            self.newest = {site: row}
        self.nodes: dict[SiteName, list[NodeRow]] = {}
        for node in status.nodes(connection, hub.partitions, site):
            self.nodes.setdefault(node.site, []).append(node)
        self.conflicts = sites.in_conflict(connection, hub.partitions)

    def reported(self, site: SiteName) -> list[Reported]:
        return [
            Reported(node.online, node.seen_at, node.epoch, node.generation, node.digest, node.status)
            for node in self.nodes.get(site, ())
        ]

    def desired(self, site: SiteName) -> Desired:
        row = self.newest.get(site)
        conflict = site in self.conflicts
        return Desired(row.epoch, row.generation, row.digest, conflict) if row else Desired(conflict=conflict)

    def site(self, site: SiteName) -> Judgement:
        return site_judgement(self.desired(site), self.reported(site), self.now)

    def instance(self, row: InstanceRow, site: SiteName) -> Judgement:
        wanted = frozenset(str(resource.key) for resource in row.resources)
        decides = row.program is not None and any(each.late for each in row.program.instances)
        return instance_judgement(self.desired(site), self.reported(site), row.owner, wanted, self.now, decides=decides)

    def evaluated(self, row: InstanceRow, site: SiteName) -> InstanceStatus | None:
        """Return what a site says of an instance it evaluates; of several nodes the one that is furthest from ACTIVE."""
        said = [
            each
            for node in self.nodes.get(site, ())
            for each in (node.status.instances if node.status is not None else ())
            if each.owner == row.owner
        ]
        return min(said, key=lambda each: _PHASES.index(each.state), default=None)

    def online(self, node: NodeRow) -> bool:
        return is_online(
            Reported(node.online, node.seen_at, node.epoch, node.generation, node.digest, node.status), self.now
        )


def site_item(scene: Scene, known: KnownSite) -> SiteItem:
    row = known.row
    nodes = scene.nodes.get(row.name, [])
    judgement = scene.site(row.name)
    newest = scene.newest.get(row.name)
    return SiteItem(
        row.name,
        row.labels,
        row.zones,
        row.region,
        row.provider,
        row.time_zone,
        judgement.state,
        judgement.message,
        any(scene.online(node) for node in nodes),
        max((node.seen_at for node in nodes), default=0) or None,
        newest.generation if newest else 0,
        min((node.generation for node in nodes), default=0),
        scene.hub.fleet.owners(row.name),
        tuple(node.node for node in nodes),
    )


def node_view(scene: Scene, node: NodeRow) -> NodeView:
    return NodeView(
        node.node,
        node.site,
        scene.online(node),
        node.seen_at or None,
        node.agent,
        node.boot_id,
        node.generation,
        node.facts,
    )


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
        min((each.state for each in said.values()), key=_PHASES.index, default=""),
    )
    return item, [_site_state(site, judgement, said.get(site)) for site, judgement in states]


def _site_state(site: SiteName, judgement: Judgement, said: InstanceStatus | None) -> SiteState:
    if said is None:
        return SiteState(site, judgement.state, judgement.message)
    return SiteState(site, judgement.state, judgement.message, said.state, said.status, said.conditions, said.problem)


async def list_sites(hub: Hub, selector: str = "", fields: str = "") -> list[SiteItem]:
    """Return all sites, or those that selectors such as `zone=west,tier in (a,b)` and `arch=arm64` choose."""

    def listing(connection: sqlite3.Connection) -> list[SiteItem]:
        scene = Scene(hub, connection)
        return [site_item(scene, known) for known in chosen_sites(hub.fleet, selector, fields)]

    return await hub.store.read(listing)


async def list_nodes(hub: Hub, selector: str = "", fields: str = "") -> list[NodeView]:
    """Return all nodes, or those of the sites that the selectors choose."""

    def listing(connection: sqlite3.Connection) -> list[NodeView]:
        scene = Scene(hub, connection)
        chosen = {known.row.name for known in chosen_sites(hub.fleet, selector, fields)}
        every = not selector and not fields
        found = [nodes for site, nodes in sorted(scene.nodes.items()) if every or site in chosen]
        return [node_view(scene, node) for nodes in found for node in nodes]

    return await hub.store.read(listing)


async def show_node(hub: Hub, name: str) -> NodeView:
    """Return one node by site/name, or by its name when only one site has it."""
    found = [node for node in await list_nodes(hub) if name in (node.name, f"{node.site}/{node.name}")]
    if not found:
        raise NotFoundError(f"no node {name!r}", resource=name)
    if len(found) > 1:
        raise ConflictError(f"{len(found)} sites have a node {name!r}", reason="Ambiguous", hint="name it SITE/NODE")
    return found[0]


async def counts(hub: Hub) -> dict[str, int]:
    """Return how many sites, sites online, instances and unpublished targets there are."""

    def counting(connection: sqlite3.Connection) -> dict[str, int]:
        return {
            "sites": len(hub.fleet.sites),
            "online": status.count_online(connection, hub.now() - SILENCE),
            "instances": len(hub.fleet.instances),
            "unpublished": targets.count_waiting(connection),
        }

    return await hub.store.read(counting)


async def list_instances(hub: Hub) -> list[InstanceItem]:
    def listing(connection: sqlite3.Connection) -> list[InstanceItem]:
        scene = Scene(hub, connection)
        return [instance_item(scene, row)[0] for _, row in sorted(hub.fleet.instances.items())]

    return await hub.store.read(listing)


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


async def show_site(hub: Hub, name: str) -> dict[str, Any]:
    """Return one site with its nodes, resources, holds, problems, history, and what its nodes reported."""

    def showing(connection: sqlite3.Connection) -> dict[str, Any]:
        known = hub.fleet.site(name)
        scene = Scene(hub, connection, known.row.name)
        nodes = scene.nodes.get(known.row.name, [])
        heard = [node.status for node in nodes if node.status is not None]
        return {
            **msgspec.to_builtins(site_item(scene, known)),
            "facts": known.facts,
            "objects": [row.owner for row in hub.fleet.objects_of(hub.fleet.placed(known.row.name))],
            "nodes": [node_view(scene, node) for node in nodes],
            "resources": [
                {
                    "key": each.key,
                    "instance": each.instance,
                    "node": said.node,
                    "type": each.condition.type,
                    "reason": each.condition.reason,
                    "message": each.condition.message,
                    "since": each.condition.since,
                    "hint": each.condition.hint,
                }
                for said in heard
                for each in said.resources
            ],
            "gates": [{"node": said.node, **msgspec.structs.asdict(gate)} for said in heard for gate in said.gates],
            "progress": [progress_row(said.node, said.progress) for said in heard if said.progress is not None],
            "holds": [hold for said in heard for hold in said.holds],
            "problems": [
                *(problem for said in heard for problem in said.problems),
                *(
                    f"{each.channel}: {each.reason}: {each.message} ({each.count} times)"
                    for each in status.problems(connection, name)
                ),
            ],
            "history": audit.newest(connection, HISTORY, f"Site/{name}"),
        }

    shown = await hub.store.read(showing)
    for title, kind in (("alarms", "Alarm"), ("reports", "TargetReport")):
        found = await hub.streams.records(name, "p0", kind, limit=HISTORY)
        shown[title] = [{"node": each.node, "at": each.record.at, **each.record.body} for each in found]
    return shown


async def show_target(hub: Hub, name: str) -> dict[str, Any]:
    """Return the newest target of a site. Raises NotFoundError while it has none."""

    def showing(connection: sqlite3.Connection) -> dict[str, Any]:
        site = hub.fleet.site(name).row.name
        row = targets.newest(connection, site)
        if row is None:
            raise NotFoundError(f"site {name!r} has no target yet", resource=f"Site/{name}")
        return {
            **msgspec.to_builtins(row),
            "content": msgspec.json.decode(targets.body(connection, row.digest), type=Content),
        }

    return await hub.store.read(showing)
