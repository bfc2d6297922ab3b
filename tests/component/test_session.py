"""One node's link: what it takes, keeps and says, against a broker that does its worst."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.link.session import HELLO_EVERY
from holdfast_edge.store import copies
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.mqtt import Delivery, Options, Subscription
from holdfast_protocol.wire import messages, topics
from holdfast_protocol.wire.batch import Batch, open_batch
from holdfast_protocol.wire.messages import HubState, Record, Resync, Status, StreamAck
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import FLEET, HUB, NODE, SITE, STRANGER, file_body
from support.clock import Running, eventually, never
from support.edge_node import CLIENT, ME, Node, at, linked, sealed

pytestmark = pytest.mark.anyio


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
