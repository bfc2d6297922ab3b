"""A hub, a site and a device on brokers as bad as their seeds, and time that passes by itself."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio

from holdfast_edge.ingest.orders import run_orders
from holdfast_edge.link.beacons import Beacons
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.link.session import Session
from holdfast_edge.store.board import Board
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.floor import FloorClock
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.targets import Targets
from holdfast_hub.operations import commands
from holdfast_hub.operations.commands import run_command_expiry
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store.commands import DeviceCommand
from holdfast_protocol.runtime.link import run_link
from holdfast_protocol.runtime.mqtt import Options
from holdfast_protocol.runtime.sqlite import read_only
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support import hubs
from support.broker import FakeBroker
from support.builders import FLEET, NODE, SITE
from support.clock import FakeClock
from support.device_data import Sender
from support.site import TRUST
from support.waiting import HANGS_S

ME = hubs.NODE
ODD = "hall/press 1"  # fits no level of a topic


class Broker:
    """The site's broker as settings name it."""

    host, port = "site", 1883


class World:
    """A hub and a site on one broker, which is as bad as its seed, and a device on the site's own."""

    def __init__(self, folder: Path, seed: int = 0, **broker: Any) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.broker = FakeBroker(seed, **broker)
        self.lan = FakeBroker(seed, **broker)
        self.group: Any = None
        self.hub: Hub
        self.answer: Any = {"done": True}  # of the device; None: it says nothing
        self.pace = 0.25  # seconds that pass in two milliseconds
        self._site: anyio.CancelScope | None = None

    def start_site(self) -> None:
        self._site = anyio.CancelScope()
        self.group.start_soon(self._run_site, self._site)

    def kill_site(self) -> None:
        assert self._site is not None
        self._site.cancel()

    async def _run_site(self, scope: anyio.CancelScope) -> None:
        folder, clock = self.folder / "site", self.clock
        folder.mkdir(exist_ok=True)
        orders = Orders(folder, 0)
        database = open_edge(folder).database
        stamp = Stamp("boot", 1, 1)
        outbox = Outbox.open(folder, quotas=Quotas(ballast=0), stamp=lambda: stamp)
        floor = FloorClock(clock, folder, synced=lambda: False)
        targets = Targets(database, folder, TRUST)
        session = Session(
            Identity(FLEET, SITE, ME, NODE),
            TRUST,
            Options(client_id=""),
            targets,
            Board(),
            outbox,
            Inbox(targets, clock, wake=lambda: None),
            Beacons(floor),
            floor,
            boot_id="boot",
            agent="0",
            facts=dict,
            wake=lambda: None,
            jitter=lambda: 0.5,
            orders=orders,
        )
        try:
            with scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: run_orders(self.lan.dial, Broker(), orders, clock))
                    await run_link(self.broker.dial, session.options, session.run, clock, chance=lambda: 0.1)
        finally:
            outbox.close()
            orders.close()
            database.close()

    async def run_device(self) -> None:
        """Answer every command that the site's broker carries."""
        done = 0
        while True:
            await anyio.sleep(0.002)
            for each in self.lan.published[done:]:
                done += 1
                if each.topic.startswith("commands/") and self.answer is not None:
                    device = each.topic.split("/")[1]
                    name = json.loads(each.payload)["id"]
                    self.lan.publish(f"answers/{device}/{name}", json.dumps(self.answer).encode())

    async def run_time(self) -> None:
        while True:
            await anyio.sleep(0.002)
            self.clock.advance(self.pace)

    def given(self) -> list[dict[str, Any]]:
        """Return the commands published to devices, oldest first."""
        return [
            {**json.loads(each.payload), "topic": each.topic}
            for each in self.lan.published
            if each.topic.startswith("commands/")
        ]

    async def order(self, name: str = "open", data: Any = None, seconds: int = 7200) -> DeviceCommand:
        return await commands.command_device(self.hub, SITE, "press", name, data, seconds=seconds, author="ann")

    async def ended(self, order: DeviceCommand) -> DeviceCommand:
        with anyio.fail_after(HANGS_S):
            while (now := await commands.show_command(self.hub, order.id)).state == "waiting":
                await anyio.sleep(0.005)
        return now


def noted(folder: Path) -> list[str]:
    """Return what the site's memory has as given, or as ended."""
    with closing(read_only(folder / "site" / "orders.db")) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM orders WHERE state != 'taken'")]


@asynccontextmanager
async def world(folder: Path, seed: int = 0, **broker: Any) -> AsyncIterator[World]:
    made = World(folder, seed, **{"duplicate": 0.0, "drop": 0.0, **broker})
    with hubs.hub_at(folder, made.clock) as hub:
        made.hub = hub
        await hub.load()
        await hubs.add_site(hub)
        await hubs.give_key(hub, NODE)
        Sender(hub).send(*(Reading(device, "t", 1_700_000_000_000, 20.5) for device in ("press", ODD)))
        linked = hubs.Linked(hub, made.broker)
        async with anyio.create_task_group() as group:
            made.group = group
            for loop in (linked.run, made.run_device, made.run_time, lambda: run_command_expiry(hub)):
                group.start_soon(loop)
            yield made
            group.cancel_scope.cancel()
