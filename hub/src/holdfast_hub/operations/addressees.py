"""What is said to a device follows it to another node: one machine of a site was replaced by another, or stands in for it."""

import contextlib
import sqlite3
from functools import partial
from typing import Final

from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import addressees, devices
from holdfast_hub.store.addressees import Move, Said
from holdfast_protocol.errors import InputError, TransientError

EVERY: Final = 10.0  # seconds between two looks


async def follow_devices(hub: Hub) -> list[Move]:
    """Address what no node has, or a node that is away has, to the node that is there and whose readings the device's last
    are. A command that has left stays with its node: it may have been given."""
    stranded = await hub.store.read(addressees.stranded)
    if not stranded:
        return []
    moves = await hub.reader.run(partial(_moves, stranded=stranded))
    moved = await hub.store.write(partial(addressees.move, moves=moves))
    for site, node in sorted({(each.said.site, each.node) for each in moved}):
        hub.feed.tell("command", f"{site}/{node}")
    return moved


def _moves(connection: sqlite3.Connection, stranded: list[Said]) -> list[Move]:
    return [
        Move(each, row.node)
        for each in stranded
        if devices.spoke_elsewhere(connection, each.site, each.device, each.node)
        for row in devices.find(connection, each.site, each.device, 1)
        if row.node != each.node
    ]


async def run_following(hub: Hub) -> None:
    """Follow devices, for ever."""
    while True:
        with contextlib.suppress(TransientError, InputError):  # a full disk, a long read: the next turn tries again
            await follow_devices(hub)
        await hub.clock.sleep(EVERY)
