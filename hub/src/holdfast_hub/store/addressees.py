"""To which nodes commands and desired properties of devices are addressed."""

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

MOST: Final = 10_000  # looked at in one turn


class Said(msgspec.Struct, frozen=True):
    """Something is addressed to a node for a device."""

    site: str
    device: str
    node: str


class Move(msgspec.Struct, frozen=True):
    """`node` is whose device it is now."""

    said: Said
    node: str


def stranded(connection: sqlite3.Connection) -> list[Said]:
    """Return what is addressed to nodes that are away, at sites where another node is there."""
    rows = connection.execute(
        "WITH torn(site) AS (SELECT site FROM nodes GROUP BY site HAVING max(online) AND NOT min(online)),"
        " said(site, device, node) AS ("
        " SELECT site, device, node FROM torn JOIN device_commands USING (site) WHERE state = 'waiting' AND sent = 0"
        " UNION SELECT site, device, node FROM torn JOIN device_desired USING (site))"
        " SELECT site, device, node FROM said JOIN nodes USING (site, node) WHERE NOT online"
        " ORDER BY random() LIMIT ?",  # of too many each has its turn
        (MOST,),
    )
    return [Said(*row) for row in rows]


def move(connection: sqlite3.Connection, moves: Iterable[Move]) -> list[Move]:
    """Address to other nodes that are there what has not left, and properties whole; return what moved."""
    moved = []
    for each in moves:
        said = each.said
        there = connection.execute(
            "SELECT 1 FROM nodes WHERE site = ? AND node = ? AND online", (said.site, each.node)
        ).fetchone()
        if there is None:
            continue
        at = (each.node, said.site, said.device, said.node)
        commands = connection.execute(
            "UPDATE device_commands SET node = ? WHERE site = ? AND device = ? AND node = ? AND state = 'waiting' AND sent = 0",
            at,
        )
        desired = connection.execute(
            "UPDATE device_desired SET node = ?, delivered = 0, delivered_at = 0 WHERE site = ? AND device = ? AND node = ?",
            at,
        )
        if commands.rowcount or desired.rowcount:
            moved.append(each)
    return moved
