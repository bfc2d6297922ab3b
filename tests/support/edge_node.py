"""One node's link with everything behind it, against a broker that does its worst."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from holdfast_edge.link.beacons import Beacons
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.link.session import Session
from holdfast_edge.store.board import Board
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.floor import FloorClock
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.targets import Targets
from holdfast_protocol.runtime.link import LinkState, run_link
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Options
from holdfast_protocol.wire import envelope, messages, target, topics
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.messages import Down, Hello, Presence
from holdfast_protocol.wire.names import NodeName
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import FLEET, HUB, NODE, SITE, a_target
from support.clock import FakeClock, Running, eventually
from support.site import TRUST

ME = NodeName("node-1")


CLIENT = topics.client_id(SITE, ME)


def at(channel: str) -> str:
    return topics.topic(Address(channel, SITE, ME))


def sealed(generation: int = 1, *bodies: Any, signer: envelope.Signer = HUB) -> bytes:
    return target.seal(a_target(*bodies, generation=generation), [signer])


class Node:
    """A node's link and its stores; the hub is the test."""

    def __init__(self, folder: Path, broker: FakeBroker) -> None:
        self.broker = broker
        self.clock = FakeClock()
        self.floor = FloorClock(self.clock, folder, synced=lambda: False)
        self.beacons = Beacons(self.floor)
        self.database = open_edge(folder).database
        self.targets = Targets(self.database, folder, TRUST)
        self.board = Board()
        self.outbox = Outbox.open(
            folder, quotas=Quotas(ballast=0), stamp=lambda: Stamp("boot", 1, int(self.clock.wall() * 1000))
        )
        self.wakes = 0
        self.states: list[LinkState] = []
        self.connections: list[Any] = []
        self.at_acknowledge: Callable[[Delivery], None] = lambda delivery: None
        self.session = Session(
            Identity(FLEET, SITE, ME, NODE),
            TRUST,
            Options(client_id=""),
            self.targets,
            self.board,
            self.outbox,
            Inbox(self.targets, self.clock, wake=self._wake),
            self.beacons,
            self.floor,
            boot_id="boot",
            agent="0.0.0",
            facts=lambda: {"arch": "riscv64"},
            wake=self._wake,
            jitter=lambda: 0.5,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def dial(self, options: Options) -> Connection:
        connection = self.broker.dial(options)
        acknowledge = connection.acknowledge

        def spied(delivery: Delivery) -> None:
            self.at_acknowledge(delivery)
            acknowledge(delivery)

        connection.acknowledge = spied  # type: ignore[method-assign]
        self.connections.append(connection)
        return connection

    async def run(self) -> None:
        await run_link(
            self.dial,
            self.session.options,
            self.session.run,
            self.clock,
            on_state=self.states.append,
            chance=lambda: 0.9,
        )

    async def pump(self) -> None:
        """Time passes by itself: for tests in which links are lost at random."""
        while True:
            self.clock.advance(1.0)
            await anyio.sleep(0.002)

    def said(self, channel: str) -> list[bytes]:
        return [
            each.payload for each in self.broker.published if each.topic == at(channel) and each.client_id == CLIENT
        ]

    def hellos(self) -> list[Hello]:
        return [messages.open_message(each, Hello, {NODE.keyid: NODE.public}) for each in self.said("hello")]

    def presences(self) -> list[Presence]:
        return [messages.decode_presence(each) for each in self.said("presence")]

    async def hello(self, count: int = 1) -> Hello:
        await eventually(lambda: len(self.hellos()) >= count, f"hello {count}")
        return self.hellos()[-1]

    def tell(self, *, signer: envelope.Signer = HUB, node: NodeName = ME, **fields: Any) -> None:
        down = Down(FLEET, SITE, node, 1_790_000_000_000, **fields)
        self.broker.publish(at("dn"), messages.seal(down, signer))

    async def reconnects(self) -> None:
        """Let the time pass that a lost link waits."""
        await eventually(lambda: self.states[-1].doing == "waiting" and self.clock.sleeps("Node.run"))
        self.clock.advance(400)

    async def heard_everything(self) -> None:
        await eventually(lambda: self.broker.waiting(CLIENT) == 0, "everything to be acknowledged")

    @property
    def generation(self) -> int:
        return self.targets.current.generation if self.targets.current else 0


@asynccontextmanager
async def linked(folder: Path, *, seed: int = 0, duplicate: float = 0.0, drop: float = 0.0) -> AsyncIterator[Node]:
    node = Node(folder, FakeBroker(seed, duplicate=duplicate, drop=drop))
    try:
        async with Running(node.run):
            yield node
    finally:
        node.outbox.close()
        node.database.close()
