"""What is said to a device goes to the node that has it now, and to a new one when that took its place."""

import json
import sqlite3
from pathlib import Path

import anyio
import pytest

from holdfast_hub.link.courier import Courier
from holdfast_hub.operations import commands, devices
from holdfast_hub.operations.addressees import follow_devices
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import commands as store_commands
from holdfast_hub.store import devices as store_devices
from holdfast_hub.store import sites, status
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire.names import NodeName
from holdfast_protocol.wire.readings import Reading
from support import hubs
from support.builders import NODE, SITE
from support.clock import eventually
from support.device_commands import world
from support.device_data import Sender
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


async def test_desired_properties_stand_at_the_site_s_broker_and_settle_with_a_reading(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await devices.desire(made.hub, SITE, "press", {"setpoint": 21.5, "mode": "eco"}, author="ann")
        made.start_site()
        await devices.desire(made.hub, SITE, "press", {"mode": None, "limit": 3}, author="ann")
        with anyio.fail_after(HANGS_S):
            while (shown := await devices.show_device(made.hub, SITE, "press"))["twin"].delivered is None:
                await anyio.sleep(0.005)
        wanted = {"version": 2, "properties": {"setpoint": 21.5, "limit": 3}}
        await eventually(lambda: json.loads(made.lan.retained.get("desired/press", b"{}")) == wanted)
        assert [(each.property, each.settled) for each in shown["twin"].properties] == [
            ("limit", False),
            ("setpoint", False),
        ]
        sender = Sender(made.hub, "site-2")
        await hubs.add_site(made.hub, "site-2")
        now = made.hub.now()
        sender.send(Reading("press", "setpoint", now, 21.5))
        assert not (await devices.show_device(made.hub, SITE, "press"))["twin"].properties[1].settled
        await devices.desire(made.hub, "site-2", "press", {"setpoint": 21.5}, author="ann")
        sender.send(Reading("press", "setpoint", made.hub.now() + 60_000, 21.5))
        (settled,) = (await devices.show_device(made.hub, "site-2", "press"))["twin"].properties
        assert (settled.reported, settled.settled) == (21.5, True)


class Nodes:
    """Nodes of the site as hub.db knows them, and what would go to each."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._courier = Courier(hub.store, hubs.IDENTITY, hub.feed, hub.clock)

    async def set(self, **online: bool) -> None:
        def setting(held: sqlite3.Connection) -> None:
            for name, there in online.items():
                if status.node(held, SITE, NodeName(name)) is None:
                    sites.put_node(held, SITE, NodeName(name), NODE.public, self.hub.now())
                held.execute("UPDATE nodes SET online = ? WHERE node = ?", (there, name))

        await self.hub.store.write(setting)

    async def due(self, node: str) -> list[tuple[str, str, int]]:
        found = await self.hub.store.write(lambda held: self._courier._due(held, SITE, NodeName(node)))
        return [(each.verb, each.device, each.version) for each in found]


async def test_what_is_said_to_a_device_follows_it_to_the_node_that_took_another_s_place(tmp_path: Path) -> None:
    with hubs.hub_at(tmp_path) as hub:
        await hub.load()
        await hubs.add_site(hub)
        nodes, sender = Nodes(hub), Sender(hub, node="old")
        await nodes.set(old=False)
        sender.send(*(Reading(device, "t", hub.now(), 1) for device in ("press", "lathe")))
        open_, told = {"seconds": 600, "author": "ann"}, {"author": "ann"}
        await devices.desire(hub, SITE, "press", {"mode": "eco"}, **told)
        await devices.desire(hub, SITE, "lathe", {"mode": "eco"}, **told)
        order = await commands.command_device(hub, SITE, "press", "open", None, **open_)
        left = await commands.command_device(hub, SITE, "press", "shut", None, **open_)
        await hub.store.write(lambda held: store_commands.mark_sent(held, left.id, hub.now()))
        await nodes.set(new=True)
        assert await follow_devices(hub) == [], "no device is the new one's yet"
        Sender(hub, node="new").send(Reading("press", "t", hub.now() + 1, 2))
        follower = hub.feed.follow()
        await follow_devices(hub)
        assert (await follower.next()).name == f"{SITE}/new"
        assert await nodes.due("new") == [("command", "press", 0), ("desire", "press", 1)]
        assert (await commands.show_command(hub, order.id)).node == "new"
        assert (await commands.show_command(hub, left.id)).node == "old", "it may have been given there"
        assert await follow_devices(hub) == []
        await nodes.set(old=True)
        assert await nodes.due("old") == [("command", "press", 0), ("desire", "lathe", 1)]


async def test_a_new_node_is_told_of_properties_that_the_one_before_had_taken(tmp_path: Path) -> None:
    with hubs.hub_at(tmp_path) as hub:
        await hub.load()
        await hubs.add_site(hub)
        nodes = Nodes(hub)
        await nodes.set(old=True, new=True)
        Sender(hub, node="old").send(Reading("press", "t", hub.now(), 1))
        await devices.desire(hub, SITE, "press", {"mode": "eco"}, author="ann")
        wanted = await hub.store.read(lambda held: store_devices.desired(held, SITE, "press"))
        assert wanted is not None
        await hub.store.write(lambda held: store_devices.mark_delivered(held, wanted, hub.now()))
        Sender(hub, node="new").send(Reading("press", "t", hub.now() + 1, 2))
        assert await follow_devices(hub) == [], "both are there: the one that has it keeps it"
        assert await nodes.due("new") == []
        await nodes.set(old=False)
        await follow_devices(hub)
        assert await nodes.due("new") == [("desire", "press", 1)]
        assert (await devices.show_device(hub, SITE, "press"))["twin"].delivered is None


@pytest.mark.parametrize("value", [2**63, 10**30])
async def test_a_property_that_its_node_would_not_take_is_refused(tmp_path: Path, value: int) -> None:
    async with world(tmp_path) as made:
        with pytest.raises(InputError, match="64 bits"):
            await devices.desire(made.hub, SITE, "press", {"speed": value}, author="ann")
        assert (await devices.show_device(made.hub, SITE, "press"))["twin"] is None
