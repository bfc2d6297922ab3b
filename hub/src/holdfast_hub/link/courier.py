"""The courier: takes commands and desired properties to nodes that are there, and their replies into hub.db.

What has not ended goes out again whenever its node says hello: a node acts on an id once, and repeats its reply.
"""

import hashlib
import sqlite3
from typing import Final

from holdfast_hub.link.identity import Identity
from holdfast_hub.store import audit, commands, devices
from holdfast_hub.store.devices import Desired
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import Store
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.mqtt import Connection
from holdfast_protocol.wire import strict, topics
from holdfast_protocol.wire.commands import MAX_DATA, MAX_DEPTH, Command, Reply, depth, seal_command
from holdfast_protocol.wire.names import NodeName, SiteName
from holdfast_protocol.wire.topics import Address

MAX_REASON: Final = 300  # characters


class Courier:
    """INVARIANTS: a command is noted as sent before it leaves; its first outcome is its only one."""

    def __init__(self, store: Store, identity: Identity, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._identity = identity
        self._feed = feed
        self._clock = clock
        self._given: dict[tuple[str, str], set[str]] = {}  # ids of what went out to a node since its hello

    def greet(self, site: SiteName, node: NodeName) -> None:
        """Have everything that has not ended go out to a node once more: it said hello."""
        self._given.pop((site, node), None)

    async def run(self, connection: Connection) -> None:
        """Take out what is ordered while this connection lasts; nodes that come later are named by their hellos."""
        follower = self._feed.follow()
        self._given.clear()
        for site, node in await self._store.read(_addressees):
            await self._send(connection, SiteName(site), NodeName(node))
        while True:
            event = await follower.next()
            if event.kind == "command":
                site, _, node = event.name.partition("/")
                await self._send(connection, SiteName(site), NodeName(node))
            elif event.kind == "reset":
                for site, node in await self._store.read(_addressees):
                    await self._send(connection, SiteName(site), NodeName(node))

    async def _send(self, connection: Connection, site: SiteName, node: NodeName) -> None:
        due = await self._store.write(lambda held: self._due(held, site, node))
        given = self._given.setdefault((site, node), set())
        given.intersection_update(each.id for each in due)
        for command in due:
            if command.id not in given:
                topic = topics.topic(Address("cmd", site, node, id=command.id))
                await connection.publish(topic, seal_command(command, self._identity.signer))
                given.add(command.id)

    def _due(self, held: sqlite3.Connection, site: SiteName, node: NodeName) -> list[Command]:
        """Return what a node that is there should have; nothing for one that is away, whose broker may forget."""
        now = int(self._clock.wall() * 1000)
        fleet = self._identity.fleet
        if held.execute("SELECT online FROM nodes WHERE site = ? AND node = ?", (site, node)).fetchone() != (1,):
            return []
        due = []
        for each in commands.waiting(held, site, node):
            if each.deadline > now:
                commands.mark_sent(held, each.id, now)
                due.append(
                    Command(
                        fleet,
                        site,
                        node,
                        each.id,
                        "command",
                        each.device,
                        each.name,
                        each.data,
                        each.deadline,
                        at=each.at,
                    )
                )
        for wanted in devices.undelivered(held, site, node):
            name, properties, version = desire_id(wanted), wanted.properties, wanted.version
            due.append(Command(fleet, site, node, name, "desire", wanted.device, "", properties, version=version))
        return due


def desire_id(wanted: Desired) -> str:
    """Return the id under which a version of a device's properties travels."""
    return f"desire-{wanted.version}-{hashlib.sha256(wanted.device.encode()).hexdigest()[:24]}"


def take_reply(connection: sqlite3.Connection, reply: Reply, at: int) -> None:
    """Record what a node says, in the caller's transaction; nothing of what it was never asked, or said before."""
    if reply.outcome == "delivered":
        for wanted in devices.undelivered(connection, reply.site, reply.node):
            if desire_id(wanted) == reply.id:
                devices.mark_delivered(connection, wanted, at)
        return
    command = commands.get(connection, reply.id)
    if command is None or (command.site, command.node) != (reply.site, reply.node):
        return
    if commands.end(connection, reply.id, reply.outcome, reply.reason[:MAX_REASON], reply.data, at):
        device = f"{command.site}/{command.device}"
        detail = {"device": device, "id": command.id, "state": reply.outcome, "reason": reply.reason[:MAX_REASON]}
        subjects = (f"Device/{device}", f"Site/{command.site}")
        audit.add(
            connection,
            at=at,
            actor=f"{reply.site}/{reply.node}",
            action="command-ended",
            subjects=subjects,
            detail=detail,
        )


def check_reply(reply: Reply) -> None:
    """Raise WireError for an answer larger or deeper than a device may give."""
    if depth(reply.data) > MAX_DEPTH or len(strict.encode(reply.data)) > MAX_DATA:
        raise WireError("an answer is too large", reason="TooLarge")


def _addressees(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT DISTINCT site, node FROM device_commands WHERE state = 'waiting'"
        " UNION SELECT site, node FROM device_desired WHERE delivered < version"
    ).fetchall()
