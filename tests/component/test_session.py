"""One node's link: against a broker that does its worst, and a hub that says anything."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.link.beacons import FIRST, STALE, Beacons
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.link.session import HELLO_EVERY, Session
from holdfast_edge.store import copies
from holdfast_edge.store.board import Board
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.floor import FloorClock
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_edge.store.targets import Targets
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.link import LinkState, run_link
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Options, Subscription
from holdfast_protocol.wire import envelope, messages, strict, target, topics
from holdfast_protocol.wire.batch import Batch, Stamp, open_batch
from holdfast_protocol.wire.messages import Down, Hello, HubState, Presence, Record, Resync, Status, StreamAck
from holdfast_protocol.wire.names import NodeName
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import FLEET, HUB, NODE, SITE, STRANGER, a_target, file_body
from support.clock import FakeClock, Running, eventually, never
from support.site import TRUST

pytestmark = pytest.mark.anyio

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
        await eventually(lambda: self.states[-1].doing == "waiting")
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


async def test_on_every_connect_it_subscribes_asks_for_the_retained_and_says_who_and_what_it_is(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        first = await node.hello()
        filters = node.broker.snapshot().sessions[CLIENT].filters
        assert filters == {at(name): Subscription(at(name), 1, 0) for name in ("target", "beacon", "dn", "hub")}
        birth = node.presences()[0]
        assert (birth.online, birth.boot_id, birth.agent) == (True, "boot", "0.0.0")
        assert (first.session, first.generation, first.facts) == (birth.session, 0, {"arch": "riscv64"})
        assert set(first.streams) == {"p0", "p1", "p2", "p3"}
        node.broker.forget()
        await node.reconnects()
        second = await node.hello(2)
        assert second.session != first.session
        assert second.nonce != first.nonce
        assert set(node.broker.snapshot().sessions[CLIENT].filters) == set(filters)
    assert [each.online for each in node.presences()] == [True, False, True, False]  # born, lost, born, gone in order


@pytest.mark.invariant("commit-before-ack")
async def test_a_target_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        kept: list[tuple[int, bool]] = []

        def look(delivery: Delivery) -> None:
            if delivery.topic == at("target"):
                with node.database.reading() as connection:
                    rows = connection.execute("SELECT generation FROM targets").fetchall()
                kept.append((rows[-1][0], (tmp_path / copies.TARGET).read_bytes() == delivery.payload))

        node.at_acknowledge = look
        await node.hello()
        node.broker.publish(at("target"), sealed(3), retain=True)
        await node.heard_everything()
        await eventually(lambda: kept)
    assert kept == [(3, True)]
    assert node.wakes > 0


@pytest.mark.invariant("commit-before-ack")
async def test_what_cannot_be_stored_is_not_acknowledged_and_taken_after_the_next_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(tmp_path) as node:
        await node.hello()

        def full(path: Path, data: bytes) -> None:
            raise TransientError("full", reason="DiskFull")

        monkeypatch.setattr(copies, "write", full)
        acknowledged: list[Delivery] = []
        node.at_acknowledge = acknowledged.append
        node.broker.publish(at("target"), sealed(3))
        await eventually(lambda: node.generation == 3)
        await eventually(lambda: node.clock.sleepers >= 2, "the receiver to rest")
        node.board.put(Status(FLEET, SITE, ME, "boot", 1, 0, "Degraded", problems=("DiskFull",)))
        await eventually(lambda: node.said("status"), "the hub to be told why")
        node.clock.advance(5)
        await eventually(lambda: node.states[-1].reason == "NotStored")
        assert acknowledged == []
        monkeypatch.undo()
        await node.reconnects()
        await eventually(lambda: acknowledged)
        assert node.generation == 3


async def test_it_is_given_the_retained_target_again_after_the_broker_forgot_the_session(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        node.broker.forget()
        node.broker.publish(at("target"), sealed(2), retain=True)
        await node.reconnects()
        await eventually(lambda: node.generation == 2)


@pytest.mark.invariant("hub-silence-changes-nothing")
async def test_an_empty_retained_target_means_nothing(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        node.broker.publish(at("target"), sealed(2), retain=True)
        await eventually(lambda: node.generation == 2)
        node.broker.publish(at("target"), b"", retain=True)
        await node.heard_everything()
        assert (node.generation, node.targets.problems()) == (2, ())


NOT_OURS = messages.seal(HubState(FLEET, True, 1, 0, "s"), STRANGER)


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.parametrize("garbage", [b"", b"{}", b"\xff", b"[" * 40, b"x" * 300_000, NOT_OURS], ids=range(6))
async def test_garbage_on_any_topic_is_acknowledged_and_what_follows_is_heard(tmp_path: Path, garbage: bytes) -> None:
    async with linked(tmp_path) as node:
        hello = await node.hello()
        for name in ("target", "beacon", "dn", "hub"):
            node.broker.publish(at(name), garbage)
        await node.heard_everything()
        node.broker.publish(at("target"), sealed(2))
        node.tell(resync=Resync(hello.nonce))
        await eventually(lambda: node.generation == 2 and node.states[-1].doing == "settled")
        assert len(node.connections) == 1


async def test_the_link_is_settled_by_the_answer_to_this_connections_hello_and_no_other(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        hello = await node.hello()
        node.tell(resync=Resync("an older nonce", conflict=True))
        node.tell(resync=Resync(hello.nonce), signer=STRANGER)
        node.tell(resync=Resync(hello.nonce), node=NodeName("node-2"))
        await node.heard_everything()
        assert node.states[-1].doing == "connected"
        assert "hub" not in node.board.notes
        node.tell(resync=Resync(hello.nonce))
        await eventually(lambda: node.states[-1].doing == "settled")


async def test_the_answer_to_a_hello_lets_what_met_nobody_be_sent_again(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        hello = await node.hello()
        heard = node.outbox.heard
        node.tell(resync=Resync(hello.nonce))
        await eventually(lambda: node.outbox.heard > heard)


async def test_a_hub_that_disagrees_is_a_problem_until_it_agrees(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        node.broker.publish(at("target"), sealed(5), retain=True)
        hello = await node.hello()
        await eventually(lambda: node.generation == 5)
        held = node.targets.current
        assert held is not None
        for resync, problem in (
            (Resync(hello.nonce, 1, 4, "x"), "somebody must decide"),
            (Resync(hello.nonce, 1, 5, held.digest), ""),
            (Resync(hello.nonce, 1, 5, held.digest, conflict=True), "somebody must decide"),
            (Resync(hello.nonce, 1, 5, "x"), "different targets"),
            (Resync(hello.nonce, 1, 6, "newer: on its way"), ""),
        ):
            node.tell(resync=resync)
            await node.heard_everything()
            await eventually(lambda problem=problem: problem in node.board.notes.get("hub", ""))  # type: ignore[misc]
            assert bool(problem) == ("hub" in node.board.notes)


async def test_a_disagreement_is_over_when_a_newer_target_is_taken(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        node.broker.publish(at("target"), sealed(5), retain=True)
        hello = await node.hello()
        await eventually(lambda: node.generation == 5)
        node.tell(resync=Resync(hello.nonce, 1, 4, "x", conflict=True))
        await eventually(lambda: "hub" in node.board.notes)
        node.broker.publish(at("target"), sealed(3), retain=True)
        await node.heard_everything()
        assert "hub" in node.board.notes
        node.broker.publish(at("target"), sealed(6), retain=True)
        await eventually(lambda: node.generation == 6)
        await eventually(lambda: "hub" not in node.board.notes)


async def test_a_beacon_without_its_target_is_a_problem_until_the_target_comes(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        old, new = beacon(NOW, generation=3), beacon(NOW + 1, generation=9)
        node.broker.publish(at("beacon"), new, retain=True)
        await eventually(lambda: "(1, 9) was announced" in node.board.notes.get("beacon", ""))
        for nothing_new in (old, new):
            node.broker.publish(at("beacon"), nothing_new, retain=True)
        for not_it in (b"garbage", sealed(5)):
            node.broker.publish(at("target"), not_it, retain=True)
        await node.heard_everything()
        assert "(1, 9) was announced" in node.board.notes.get("beacon", "")
        node.broker.publish(at("target"), sealed(9), retain=True)
        await eventually(lambda: not node.board.notes)


NOW = 1_790_000_000_000
LIFE = 3_600_000  # milliseconds


def beacon(issued_at: int, *, generation: int = 0) -> bytes:
    said = target.Beacon(FLEET, SITE, 1, generation, "d" if generation else "", issued_at, issued_at + LIFE)
    return envelope.seal(target.BEACON, strict.encode(said), [HUB])


@pytest.mark.invariant("hub-silence-changes-nothing")
async def test_a_stale_beacon_is_a_problem_by_time_since_boot_and_changes_nothing_else(tmp_path: Path) -> None:
    def noted(problem: str) -> None:
        node.board.note("freshness", problem)

    async def hears(*payloads: bytes) -> str:
        for payload in payloads:
            node.broker.publish(at("beacon"), payload, retain=True)
        await node.heard_everything()
        return node.board.notes.get("freshness", "")

    def passes(seconds: float) -> None:
        node.clock.advance(seconds)
        node.clock.set_wall(0.0)  # what the wall clock says is no matter

    async with linked(tmp_path) as node, Running(lambda: node.beacons.run(noted)):
        node.broker.publish(at("target"), sealed(5), retain=True)
        await eventually(lambda: node.generation == 5)
        assert await hears(beacon(NOW)) == ""
        passes(LIFE / 1000 - 60)
        assert await hears(beacon(NOW), beacon(NOW - 1)) == "", "replayed: no fresher for it"
        passes(60)
        await eventually(lambda: node.board.notes.get("freshness") == STALE, "the alarm")
        assert await hears(beacon(NOW), beacon(NOW - 1)) == STALE
        passes(4 * 3600)
        assert await hears(beacon(NOW + 1000)) == STALE, "kept back for hours and given out now"
        assert await hears(beacon(NOW + 5 * LIFE)) == ""
        assert node.generation == 5


async def test_a_node_that_hears_no_beacon_at_all_says_so(tmp_path: Path) -> None:
    notes: list[str] = []
    async with linked(tmp_path) as node, Running(lambda: node.beacons.run(notes.append)):
        await eventually(lambda: notes == [""])
        node.broker.cut()
        await eventually(lambda: node.clock.sleepers >= 2)
        node.clock.advance(FIRST)
        await eventually(lambda: notes[-1] == STALE)


async def test_every_verified_word_of_the_hub_bounds_the_clock_and_none_of_a_stranger(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        node.clock.set_wall(0.0)
        node.tell(signer=STRANGER)
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, False, 1, NOW + 9_000, "x"), STRANGER))
        await node.heard_everything()
        assert node.floor.wall() < NOW / 1000
        node.tell()
        await eventually(lambda: node.floor.wall() == 1_790_000_000)
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, False, 1, NOW + 1_000, "x"), HUB))
        await eventually(lambda: node.floor.wall() == 1_790_000_001)
        node.broker.publish(at("beacon"), beacon(NOW + 2_000))
        await eventually(lambda: node.floor.wall() == 1_790_000_002)
        later = a_target(generation=3, issued_at=NOW + 3_000)
        node.broker.publish(at("target"), target.seal(later, [HUB]))
        await eventually(lambda: node.floor.wall() == 1_790_000_003)
        node.broker.drop()
        await node.reconnects()
        hello = await node.hello(2)
        assert (hello.clock.quality, hello.clock.wall) == ("floor", NOW + 403_000)


async def test_hello_is_said_again_every_quarter_of_an_hour_and_when_a_hub_comes_back(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, True, 1, 0, "first"), HUB), retain=True)
        await node.heard_everything()
        await eventually(lambda: node.clock.sleepers >= 2)
        node.clock.advance(5)
        await node.hello(2)  # the first one met nobody
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, False, 1, 0, "first"), HUB), retain=True)
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, True, 1, 0, "second"), HUB), retain=True)
        await node.heard_everything()
        await eventually(lambda: node.clock.sleepers >= 2)
        node.clock.advance(5)
        await node.hello(3)
        node.clock.advance(HELLO_EVERY)
        await node.hello(4)


async def test_a_broker_that_plays_old_words_of_hubs_in_turn_makes_us_say_no_more_than_one_hello_at_a_time(
    tmp_path: Path,
) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        for number in range(200):
            state = HubState(FLEET, True, 1, 0, "ab"[number % 2])
            node.broker.publish(at("hub"), messages.seal(state, HUB), retain=True)
        await node.heard_everything()
        await eventually(lambda: node.clock.sleepers >= 2)
        await never(lambda: node.clock.sleepers > 3)
        node.clock.advance(5)
        await node.hello(2)
        await never(lambda: len(node.hellos()) > 2)
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, True, 1, 0, "new"), HUB), retain=True)
        await node.heard_everything()
        await eventually(lambda: node.clock.sleepers >= 2)
        node.clock.advance(5)
        await node.hello(3)


async def test_a_hub_that_was_there_before_is_greeted_once(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        node.broker.publish(at("hub"), messages.seal(HubState(FLEET, True, 1, 0, "first"), HUB), retain=True)
        await node.heard_everything()
        await eventually(lambda: node.clock.sleepers >= 2)
        node.clock.advance(5)
        await node.hello(2)
        node.broker.drop(CLIENT)
        await node.reconnects()
        await node.hello(3)
        await node.heard_everything()
        await never(lambda: len(node.hellos()) > 3)


async def test_the_status_is_published_when_it_is_new_and_at_every_connect(tmp_path: Path) -> None:
    def status(sequence: int) -> Status:
        return Status(FLEET, SITE, ME, "boot", sequence, 0, "Converged")

    def published() -> list[int]:
        return [messages.open_message(each, Status, {NODE.keyid: NODE.public}).sequence for each in node.said("status")]

    async with linked(tmp_path) as node:
        await node.hello()
        node.board.put(status(1))
        await eventually(lambda: published() == [1])
        node.board.put(status(1))
        await never(lambda: published() != [1])
        node.board.put(status(2))
        await eventually(lambda: published() == [1, 2])
        node.broker.drop()
        await node.reconnects()
        await eventually(lambda: published() == [1, 2, 2])
        assert at("status") in node.broker.retained


async def test_an_acknowledgement_from_the_hub_empties_the_outbox_and_a_forged_one_does_not(tmp_path: Path) -> None:
    async with linked(tmp_path) as node:
        await node.hello()
        await node.outbox.append_records("p0", [Record("Event", 0, {"n": 1})])
        up = topics.topic(Address("up", SITE, ME, stream="p0"))
        await eventually(lambda: [each for each in node.broker.published if each.topic == up])
        sent = next(each.payload for each in node.broker.published if each.topic == up)
        group = open_batch(sent, {NODE.keyid: NODE.public})
        ack = StreamAck("p0", group.incarnation, group.last, chain=group.after.hex())
        node.tell(acks=(ack,), signer=STRANGER)
        await node.heard_everything()
        assert node.outbox.depth()["p0"].rows == 1
        node.tell(acks=(ack,))
        await eventually(lambda: node.outbox.depth()["p0"].rows == 0)


async def test_a_broker_too_small_for_our_messages_is_not_used(tmp_path: Path) -> None:
    node = Node(tmp_path, FakeBroker(duplicate=0, drop=0, max_packet=1000))
    async with Running(node.run):
        await eventually(lambda: node.states and node.states[-1].reason == "Refused")
    assert node.broker.published == []
    node.outbox.close()
    node.database.close()


@pytest.mark.invariant("target-never-goes-back")
@pytest.mark.parametrize("seed", range(6))
async def test_through_the_nastiest_broker_the_newest_target_arrives_and_none_goes_back(
    tmp_path: Path, seed: int
) -> None:
    async with linked(tmp_path, seed=seed, duplicate=0.3, drop=0.05) as node, Running(node.pump):
        held = [0]
        old = node.broker.snapshot()
        for generation in range(1, 16):
            node.broker.publish(at("target"), sealed(generation, file_body(content=str(generation))), retain=True)
            if generation % 5 == 0:
                node.broker.forget()
            if generation == 8:
                old = node.broker.snapshot()
            for _ in range(4):
                await anyio.sleep(0.001)
                held.append(node.generation)
        node.broker.restore(old)  # and it remembers generation 8
        node.broker.publish(at("target"), sealed(16), retain=True)
        await eventually(lambda: node.generation == 16)
        held.append(node.generation)
        await never(lambda: node.generation != 16)
    assert held == sorted(held)


async def test_old_words_of_the_hub_played_again_lose_nothing_and_stop_nothing(tmp_path: Path) -> None:
    up = topics.topic(Address("up", SITE, ME, stream="p0"))

    def batches() -> list[Batch]:
        sent = [each.payload for each in node.broker.published if each.topic == up]
        return [open_batch(each, {NODE.keyid: NODE.public}) for each in sent]

    def ack(batch: Batch, **fields: Any) -> StreamAck:
        return StreamAck("p0", batch.incarnation, batch.last, chain=batch.after.hex(), **fields)

    async def append(number: int) -> Batch:
        await node.outbox.append_records("p0", [Record("Event", 0, {"n": number})])
        return await eventually(  # type: ignore[no-any-return]
            lambda: next((each for each in batches() if each.last == number), None), f"record {number} to be sent"
        )

    def held() -> int:
        return node.outbox.depth()["p0"].rows

    async with linked(tmp_path) as node:
        hub = node.broker.dial(Options("hub"))  # somebody who listens
        await hub.connect()
        await hub.subscribe([Subscription(topics.filter_for("up"))])
        await node.hello()
        first, second, third = [await append(number) for number in (1, 2, 3)]
        beyond = StreamAck("p0", first.incarnation, 9, chain="0" * 64)
        unknown = StreamAck("p0", first.incarnation, 2, chain="0" * 64)
        below = StreamAck("p0", first.incarnation, -7, chain="0" * 64)
        node.tell(acks=(beyond, unknown, below))
        await node.heard_everything()
        assert held() == 3
        forked = ack(first, fork=True)
        node.tell(acks=(forked,))
        await eventually(lambda: held() == 2)
        again = await eventually(
            lambda: next((each for each in batches() if each.incarnation != first.incarnation), None)
        )
        node.tell(acks=(ack(third), ack(second), forked))
        await node.heard_everything()
        assert held() == 2, "of a history that has ended"
        assert node.outbox.states()["p0"].incarnation == again.incarnation
        last = await eventually(lambda: next((each for each in batches()[::-1] if each.last == 3), None))
        old = StreamAck("p0", again.incarnation, 1, chain=first.after.hex())
        for acks in ((old,), (ack(last),), (old,), (forked, old)):
            node.tell(acks=acks)
        await eventually(lambda: held() == 0)
        assert (await append(4)).incarnation == again.incarnation
        assert held() == 1
