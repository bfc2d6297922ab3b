"""The hub hears a broker that does everything a broker may do: nothing unsigned believed, nothing let go unstored."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import site_views
from holdfast_hub.operations.hub import Hub
from holdfast_hub.service import Health
from holdfast_hub.settings import Settings
from holdfast_hub.store import heard as lives
from holdfast_hub.store import status as heard
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.wire import messages, topics
from holdfast_protocol.wire.topics import Address
from support import streams
from support.broker import FakeBroker
from support.builders import FLEET, SITE, STRANGER
from support.builders import NODE as NODE_KEY
from support.clock import FakeClock, Running, eventually
from support.hub_link import alive, freed, furnish, node, offline, online, problems, site_state
from support.hubs import (
    NODE,
    Linked,
    hello,
    hub_at,
    newest,
    presence,
    status,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(tmp_path: Path, clock: FakeClock) -> Iterator[Hub]:
    with hub_at(tmp_path, clock) as made:
        yield made


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker(7, drop=0.0)


async def test_a_late_will_of_an_older_session_hides_no_node(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(presence("s1", online=True))
        linked.say(hello("s1"))
        await eventually(lambda: online(hub, "s1"))
        linked.say(presence("s2", online=True))
        await eventually(lambda: online(hub, "s2"))
        linked.say(presence("s1", online=False))
        await eventually(lambda: linked.idle, "the late will to be taken")
        assert (await node(hub)).online
        linked.say(presence("s2", online=False))
        await eventually(lambda: offline(hub))
        assert await site_state(hub) == "Offline"


POISON = {
    "not JSON": ("hello", b"\xff\xfe"),
    "not an envelope": ("status", b'{"kind":"status"}'),
    "empty": ("hello", b""),
    "half a surrogate": ("presence", b'{"site":"press-01","node":"node-1","online":true,"session":"\\ud800"}'),
    "of another site": ("presence", b'{"site":"press-02","node":"node-1","online":false}'),
    "of a version that is a book": (
        "presence",
        b'{"site":"press-01","node":"node-1","online":true,"agent":"%s"}' % (b"x" * 65),
    ),
    "too large": ("presence", b"x" * 20_000),
    "a batch of nothing": ("up", b"\x93\xa1x\xc0\x90"),
}


@pytest.mark.parametrize("name", sorted(POISON))
@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.invariant("every-loss-is-counted")
async def test_a_message_that_cannot_be_taken_is_counted_and_the_queue_goes_on(
    name: str, hub: Hub, broker: FakeBroker
) -> None:
    channel, payload = POISON[name]
    linked = Linked(hub, broker)
    topic = topics.topic(Address(channel, SITE, NODE, stream="p0" if channel == "up" else ""))
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        broker.publish(topic, payload)
        broker.publish(topic, payload)
        linked.say(hello())
        await eventually(linked.downs, "the answer to the message behind it")
        await eventually(lambda: linked.idle, "the bad ones to be acknowledged")
        (found,) = await problems(hub)
        assert (found.site, found.node, found.channel) == (SITE, NODE, channel)
        assert found.count >= 2
        assert found.reason
        assert linked.settled == 1, "the connection was lost over it"


async def test_what_strangers_say_is_counted_and_believed_by_nobody(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(hello("forged"), STRANGER)
        linked.say(hello(site="nowhere"))
        linked.say(hello("theirs", fleet="other"))
        linked.say(hello("huge", generation=2**62))
        linked.say(hello("long", boot_id="x" * 65))
        linked.say(hello("far", streams={"p0": messages.StreamState(streams.INCARNATION, 1, 2**62, 0)}))
        linked.say(hello("facts", facts={str(number): "x" for number in range(100)}))
        linked.say(hello("mine"))
        await eventually(lambda: online(hub, "mine"))
        await eventually(lambda: linked.idle, "all to be taken")
        assert {(each.site, each.reason) for each in await problems(hub)} == {
            (SITE, "BadSignature"),
            ("", "UnknownNode"),
            (SITE, "WrongSite"),
            (SITE, "BadNumber"),
            (SITE, "TooLarge"),
        }
        assert (await site_views.list_sites(hub))[0].state != "Conflict"


async def test_a_batch_is_stored_acknowledged_and_only_then_let_go(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    batch = streams.sealed([streams.group(1)], fleet=FLEET, site=SITE, node=NODE, signer=NODE_KEY)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        for _ in range(3):
            broker.publish(topics.topic(Address("up", SITE, NODE, stream="p3")), batch)
        await eventually(lambda: linked.idle, "the batch to be acknowledged")
        acks = [ack for down in linked.downs() for ack in down.acks]
        assert {(ack.stream, ack.incarnation, ack.upto) for ack in acks} == {("p3", streams.INCARNATION, 10)}
        assert [each.value for each in await hub.readings.find(SITE)] == list(range(1, 11))
        linked.say(hello(streams={"p3": messages.StreamState(streams.INCARNATION, 1, 12, 0)}))
        await eventually(lambda: any(down.resync for down in linked.downs()), "the answer to a hello")
        assert [ack.upto for ack in linked.downs()[-1].acks] == [10], "a hello is told what is held"


@pytest.mark.invariant("commit-before-ack")
async def test_what_cannot_be_committed_is_not_acknowledged_and_comes_again(
    hub: Hub, broker: FakeBroker, clock: FakeClock
) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        pages = await hub.store.read(lambda held: held.execute("PRAGMA page_count").fetchone()[0])
        await hub.store.read(lambda held: held.execute(f"PRAGMA max_page_count={pages}"))
        linked.say(hello(facts={f"fact-{number}": "x" * 250 for number in range(60)}))
        await eventually(lambda: freed(clock, linked), "the link to be given up")
        assert not linked.idle
        await hub.store.read(lambda held: held.execute("PRAGMA max_page_count=1000000"))
        await eventually(lambda: freed(clock, linked, downs=True), "the hello to be answered")
        await eventually(lambda: linked.idle, "its acknowledgement")


async def test_an_old_status_the_broker_kept_replaces_no_newer_one(hub: Hub, broker: FakeBroker) -> None:
    await furnish(hub)
    row = await newest(hub)
    assert row is not None

    def take(held: object, *said: tuple[object, bool]) -> list[bool]:
        return [heard.take_status(held, each, hub.now(), live=live) for each, live in said]  # type: ignore[arg-type]

    assert await hub.store.write(
        lambda held: take(
            held,
            (status(row, sequence=5), True),
            (status(None, sequence=4), True),
            (status(row, sequence=5), True),
            (status(None, sequence=9, boot_id="boot-2"), True),
        )
    ) == [True, False, False, True]
    await hub.store.write(lambda held: heard.take_hello(held, hello(boot_id="boot-3"), hub.now()))
    assert await hub.store.write(lambda held: take(held, (status(row, sequence=99), False))) == [False]


async def answered(linked: Linked) -> list[str]:
    """Return the nonces answered, once everything said is taken."""
    await eventually(lambda: linked.idle, "all to be taken")
    return [down.resync.nonce for down in linked.downs() if down.resync]


async def test_an_old_hello_played_again_turns_nothing_back(hub: Hub) -> None:
    linked = Linked(hub, FakeBroker(7, drop=0.0, duplicate=0.0))
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        row = await newest(hub)
        said = [
            alive("boot-1", 10, facts={"arch": "old"}),
            alive("boot-1", 900, facts={"arch": "old"}),
            alive("boot-2", 5, held=row, facts={"arch": "new"}),
            alive("boot-2", 800, held=row, facts={"arch": "new"}),
        ]
        for message in said:
            linked.say(message)
            await answered(linked)
        count = len(linked.targets())
        for message in said[:3]:
            linked.say(message)
        assert await answered(linked) == ["n10", "n900", "n5", "n800"]
        found = await node(hub)
        assert (found.boot_id, found.session, found.generation, found.facts) == (
            "boot-2",
            "boot-2-800",
            1,
            {"arch": "new"},
        )
        assert len(linked.targets()) == count
        assert await problems(hub) == []
        linked.say(said[3])
        assert (await answered(linked))[-1] == "n800", "the newest again: its answer may have been lost"


async def test_an_old_status_played_again_turns_nothing_back_also_of_an_earlier_boot(hub: Hub) -> None:
    linked = Linked(hub, FakeBroker(7, drop=0.0, duplicate=0.0))
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        row = await newest(hub)
        first, late = status(None, sequence=1000), status(None, sequence=5000)
        second = status(row, sequence=700, boot_id="boot-2")
        for message in (alive("boot-1", 1), first, second, alive("boot-2", 1, held=row)):
            linked.say(message)
            await answered(linked)
        for message in (first, late, second):
            linked.say(message)
        await answered(linked)
        found = await node(hub)
        assert found.status == second
        assert found.generation == 1


@pytest.mark.parametrize(("boots", "incarnations"), [(("a", "b"), ("", "")), (("a", "a"), ("1" * 32, "2" * 32))])
async def test_two_agents_of_one_name_are_a_problem_of_their_site(
    hub: Hub, boots: tuple[str, str], incarnations: tuple[str, str]
) -> None:
    linked = Linked(hub, FakeBroker(7, drop=0.0, duplicate=0.0))
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(alive(boots[0], 100, incarnations[0]))
        linked.say(alive(boots[1], 200, incarnations[1]))
        await answered(linked)
        assert await problems(hub) == [], "one machine that started again"
        linked.say(alive(boots[0], 300, incarnations[0]))
        assert (await answered(linked))[-1] == "n300", "the one that goes on is answered"
        (found,) = await problems(hub)
        assert (found.site, found.node, found.reason, found.count) == (SITE, NODE, "Duplicate", 1)
        assert "Duplicate" in str((await site_views.show_site(hub, SITE))["problems"])


async def test_no_more_lives_of_a_node_are_remembered_than_some(hub: Hub) -> None:
    await furnish(hub)

    def many(held: sqlite3.Connection) -> int:
        for number in range(3 * lives.REMEMBERED):
            assert lives.take_hello(held, alive(f"boot-{number}", 5)) == ("new", "")
            assert lives.take_status(held, status(None, boot_id=f"boot-{number}"))
            assert lives.take_status(held, status(None, boot_id=f"never said hello {number}"))
        return int(held.execute("SELECT count(*) FROM heard").fetchone()[0])

    assert await hub.store.write(many) <= 2 * lives.REMEMBERED + 1


def test_a_broker_that_stays_away_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    health = Health(Settings(data_dir=tmp_path))
    caplog.set_level("INFO", logger="holdfast_hub.service")
    health.take(LinkState("connecting", 0, 0.0, "", ""))
    for failures in range(1, 4):
        health.take(LinkState("waiting", failures, 1.0, "Unreachable", "refused"))
        health.take(LinkState("connecting", failures, 0.0, "Unreachable", "refused"))
    health.take(LinkState("connected", 3, 0.0, "Unreachable", "refused"))
    health.take(LinkState("waiting", 4, 1.0, "Unreachable", "refused"))
    told = [record.getMessage().split(": ")[1].split()[0] for record in caplog.records]
    assert told == ["connecting", "waiting", "connected", "waiting"]
    assert health()["broker"]["message"] == "refused"
