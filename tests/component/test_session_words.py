"""What a hub says to one node, and says again: answers, disagreements, beacons, the clock."""

from pathlib import Path

import pytest

from holdfast_edge.link.beacons import FIRST, STALE
from holdfast_protocol.wire import envelope, messages, strict, target
from holdfast_protocol.wire.messages import HubState, Resync
from holdfast_protocol.wire.names import NodeName
from support.builders import FLEET, HUB, SITE, STRANGER, a_target
from support.clock import Running, eventually, never
from support.edge_node import CLIENT, at, linked, sealed

pytestmark = pytest.mark.anyio


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
