"""Where each sink, and each bridge the hub runs, stands among what is stored: its place, from its making to its end."""

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast_hub.blueprint import sink
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import replays, sinks
from holdfast_protocol.kinds import bridge

KINDS: Final = (sink.KIND, bridge.KIND)


class Beginning(msgspec.Struct, frozen=True):
    """What a new place begins with, besides what comes: readings of `sites` from a time on (ms), None: nothing."""

    sites: list[str] = []
    since: int | None = None


def place_of(bridge_name: str) -> str:
    """Return the name under which a bridge has its place among the sinks'."""
    return f"{bridge.KIND}/{bridge_name}"


def is_place(name: str) -> bool:
    """Return whether a place is a bridge's and no sink's."""
    return name.startswith(f"{bridge.KIND}/")


async def keep_places(hub: Hub) -> None:
    """Give what is new its place and let those go of what is gone; from its return on what comes is for the new ones.

    Raises TransientError: a full disk."""
    async with hub.places:  # of two at once the slower would go by what there was before
        wanted = await hub.store.read(lambda _: _wanted(hub))
        await hub.streams.database.call(_keep, hub, wanted)


def _wanted(hub: Hub) -> dict[str, Beginning]:
    found = {}
    for row in hub.fleet.objects.values():
        if row.kind == sink.KIND:
            found[row.name] = Beginning(list(map(str, hub.fleet.sites_of(row.owner))), sink.start(sink.read(row.spec)))
        elif row.kind == bridge.KIND:
            found[place_of(row.name)] = Beginning()
    return found


def _keep(hub: Hub, wanted: Mapping[str, Beginning]) -> None:
    with hub.streams.database.transaction() as connection:
        for name, each in wanted.items():
            if sinks.begin(connection, name, hub.now()) and each.since is not None:
                replays.begin(connection, name, each.sites, each.since)
        _end(connection, sinks.names(connection) - set(wanted))
        sinks.skip_oldest(connection)


def _end(connection: sqlite3.Connection, names: set[str]) -> None:
    for name in names:
        sinks.end(connection, name)
        replays.end(connection, name)
