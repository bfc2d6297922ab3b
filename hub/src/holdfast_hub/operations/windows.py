"""Windows of a site, explained: when each gate opens next, by the hub's own clock, and what the nodes say of it."""

import sqlite3
from datetime import UTC, tzinfo
from itertools import islice
from typing import Final

import msgspec

from holdfast_hub.operations.fleet import KnownSite
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import status
from holdfast_protocol.calendar.openings import local_time, openings
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.messages import GateStatus
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.windows import GATES, KIND, Window, check

SHOWN: Final = 3  # openings of each window


class OpeningView(msgspec.Struct, frozen=True):
    """Milliseconds since 1970, and as the clocks of the zone show them."""

    opens: int
    closes: int
    local: str


class WindowView(msgspec.Struct, frozen=True):
    """One window at a site: its next openings, the one that is open first. `zone_from` says who named the zone."""

    window: str
    gates: tuple[str, ...]
    zone: str
    zone_from: str
    open: bool
    openings: tuple[OpeningView, ...]


class GateView(msgspec.Struct, frozen=True):
    """One gate: always open when no window names it, else open when one of its windows is."""

    gate: str
    open: bool
    message: str


class Said(msgspec.Struct, frozen=True):
    """What a node reports of its gates, by its own clock."""

    node: str
    at: int
    gates: tuple[GateStatus, ...]


class Explained(msgspec.Struct, frozen=True):
    site: str
    gates: tuple[GateView, ...]
    windows: tuple[WindowView, ...]
    nodes: tuple[Said, ...]


async def explain_windows(hub: Hub, name: str) -> Explained:
    """Return when what may happen at a site, and why not now. Raises NotFoundError."""

    def explaining(connection: sqlite3.Connection) -> Explained:
        known, now = hub.fleet.site(name), hub.now() / 1000
        placed = hub.fleet.objects_of(hub.fleet.placed(known.row.name))
        windows = [check(row.name, row.spec) for row in placed if row.kind == KIND]
        views = tuple(_view(window, known, now) for window in windows)
        return Explained(
            known.row.name, tuple(_gate(gate, views) for gate in GATES), views, _said(hub, connection, known.row.name)
        )

    return await hub.store.read(explaining)


def _said(hub: Hub, connection: sqlite3.Connection, site: SiteName) -> tuple[Said, ...]:
    nodes = status.nodes(connection, hub.partitions, site)
    return tuple(Said(each.node, each.status.at, each.status.gates) for each in nodes if each.status is not None)


def _view(window: Window, known: KnownSite, now: float) -> WindowView:
    name, source = _zone_of(window, known)
    zone = zones.zone(name) or UTC
    found = tuple(islice(openings(window.calendar, zone, now), SHOWN))
    shown = tuple(OpeningView(each.start * 1000, each.end * 1000, _local(each.start, each.end, zone)) for each in found)
    return WindowView(window.name, window.gates, name, source, bool(found and found[0].start <= now), shown)


def _zone_of(window: Window, known: KnownSite) -> tuple[str, str]:
    if window.time_zone:
        return window.time_zone, "window"
    if known.row.time_zone:
        return known.row.time_zone, "site"
    reported = known.facts.get("time-zone", ())
    return (reported[0], "node") if reported else ("UTC", "nobody: the node has not said yet")


def _local(start: int, end: int, zone: tzinfo) -> str:
    first, last = local_time(start, zone), local_time(end, zone)
    same = first.date() == last.date()
    return (
        f"{first:%a %Y-%m-%d %H:%M} to {last:%H:%M}" if same else f"{first:%a %Y-%m-%d %H:%M} to {last:%a %m-%d %H:%M}"
    )


def _gate(gate: str, views: tuple[WindowView, ...]) -> GateView:
    concerned = [each for each in views if gate in each.gates]
    if not concerned:
        return GateView(gate, True, "always: no window names it")
    if opened := [each for each in concerned if each.open]:
        return GateView(gate, True, f"by {', '.join(each.window for each in opened)}")
    following = min(
        (each for each in concerned if each.openings), key=lambda each: each.openings[0].opens, default=None
    )
    if following is None:
        return GateView(gate, False, "no opening ahead")
    return GateView(gate, False, f"opens {following.openings[0].local} {following.zone} ({following.window})")
