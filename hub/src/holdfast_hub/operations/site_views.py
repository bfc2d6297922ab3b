"""Sites, their nodes and targets, for reading."""

import sqlite3
from typing import Any, Final

import msgspec

from holdfast_hub.core.convergence import SILENCE
from holdfast_hub.operations.fleet import KnownSite
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.placement import chosen_sites
from holdfast_hub.operations.progress import progress_row
from holdfast_hub.operations.scene import HISTORY, Scene
from holdfast_hub.store import audit, status, targets
from holdfast_hub.store.status import NodeRow
from holdfast_protocol.errors import ConflictError, NotFoundError
from holdfast_protocol.wire.messages import RebootStatus
from holdfast_protocol.wire.target import Content

PROBLEMS: Final = 20  # of no site, shown with the hub's health


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


def reboot_row(node: str, said: RebootStatus) -> dict[str, Any]:
    """Return what a node says of restarts as one flat row: needed, since when, its next chance; and of the last."""
    last = said.last
    return {
        "node": node,
        "needed": "; ".join(said.needed),
        "since": said.since or None,
        "waits": said.waits,
        "next": said.next or None,
        "announced": said.announced or None,
        "given_up": "; ".join(said.given_up),
        "last": last.outcome if last is not None else "",
        "last_at": last.at if last is not None else None,
        "last_seconds": max(last.back_at - last.at, 0) // 1000 if last is not None else None,
        "last_message": last.message if last is not None else "",
    }


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


async def counts(hub: Hub) -> dict[str, Any]:
    """Return how many sites, sites online, instances and unpublished targets there are, and the problems of no site."""

    def counting(connection: sqlite3.Connection) -> dict[str, Any]:
        return {
            "sites": len(hub.fleet.sites),
            "online": status.count_online(connection, hub.now() - SILENCE),
            "instances": len(hub.fleet.instances),
            "unpublished": targets.count_waiting(connection),
            "problems": _problems(connection, "")[:PROBLEMS],
        }

    return await hub.store.read(counting)


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
            "reboot": [reboot_row(said.node, said.reboot) for said in heard if said.reboot is not None],
            "holds": [hold for said in heard for hold in said.holds],
            "problems": [
                *(problem for said in heard for problem in said.problems),
                *_problems(connection, name),
            ],
            "history": audit.newest(connection, HISTORY, f"Site/{name}"),
        }

    shown = await hub.store.read(showing)
    for title, kind in (("alarms", "Alarm"), ("reports", "TargetReport")):
        found = await hub.streams.records(name, "p0", kind, limit=HISTORY)
        shown[title] = [{"node": each.node, "at": each.record.at, **each.record.body} for each in found]
    return shown


def _problems(connection: sqlite3.Connection, site: str) -> list[str]:
    """Return what the hub could not take or do of a site, of "" what belongs to none, the newest first."""
    return [
        f"{each.channel}: {each.reason}: {each.message} ({each.count} times)"
        for each in status.problems(connection, site)
    ]


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
