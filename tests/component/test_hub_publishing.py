"""The hub tells the broker: rows first, broker after, each target until it is taken, whatever the broker forgets."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast_hub.link import publisher
from holdfast_hub.operations import apply, sites
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.errors import ConflictError, TransientError
from holdfast_protocol.wire import messages, records, topics
from holdfast_protocol.wire.batch import GENESIS, Group
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.topics import Address
from support import streams
from support.broker import FakeBroker
from support.builders import FLEET, SITE, STRANGER
from support.builders import NODE as NODE_KEY
from support.clock import FakeClock, Running, eventually, never
from support.hub_link import (
    alive,
    beacon,
    freed,
    furnish,
    has_problem,
    holds,
    marked,
    problems,
    site_state,
    state,
)
from support.hubs import (
    BLUEPRINT,
    NODE,
    Linked,
    add_site,
    hello,
    hub_at,
    instance,
    newest,
    put,
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


async def test_a_change_is_published_once_and_an_unchanged_digest_not_at_all(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the first target")
        await put(hub, BLUEPRINT, instance())
        await put(hub, f"# a word\n{BLUEPRINT}")
        await sites.describe_site(hub, SITE, sites.SiteWords(labels={"tier": "gold"}), author="ann")
        await never(lambda: len(linked.targets()) != 1)
        await put(hub, instance(text="new"))
        await eventually(lambda: len(linked.targets()) == 2, "the second target")
        target = linked.held()
        assert target is not None
        assert (target.generation, target.content.resources[0].spec["content"]) == (2, "new")
        row = await newest(hub)
        assert row is not None
        assert (row.digest, row.previous) == (target.digest, target.previous)


async def test_what_was_committed_and_not_published_goes_out_at_the_next_start(
    hub: Hub, broker: FakeBroker, tmp_path: Path
) -> None:
    await furnish(hub)  # and the hub is killed: nothing ran that could have published
    hub.store.close()
    with hub_at(tmp_path) as again:
        await again.load()
        linked = Linked(again, broker)
        async with Running(linked.run):
            target = await eventually(linked.held, "the target of the rows left behind")
        row = await newest(again)
        assert row is not None
        assert (target.generation, target.digest) == (row.generation, row.digest)


async def test_a_target_published_twice_is_the_same_bytes(hub: Hub) -> None:
    broker = FakeBroker(3, drop=0.25)
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: marked(hub))
    assert len(set(linked.targets())) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_under_a_broker_that_drops_and_doubles_every_site_gets_its_newest_target(hub: Hub, seed: int) -> None:
    broker = FakeBroker(seed, drop=0.08, duplicate=0.4)
    linked = Linked(hub, broker)
    names = [f"press-{number:02}" for number in range(6)]
    async with Running(linked.run):
        for name in names:
            await add_site(hub, name)
        for text in ("one", "two", "three"):
            await put(hub, BLUEPRINT, instance(text=text))
        rows = {name: await newest(hub, name) for name in names}
        wanted = {name: row.generation if row else 0 for name, row in rows.items()}
        await eventually(lambda: {name: generation(linked, name) for name in names} == wanted, "every site's target")
        assert set(wanted.values()) == {3}


async def test_a_wiped_broker_is_given_everything_again(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await add_site(hub, "press-02")
        await put(hub, instance(text="for both"))
        before = await eventually(lambda: generation(linked) == 2 and linked.held("press-02") and linked.held(), "both")
        broker.forget()
        assert linked.held() is None
        assert await eventually(linked.held, "the target again") == before
        await eventually(lambda: linked.held("press-02"), "the other one")
        await eventually(lambda: beacon(broker), "a beacon")
        await eventually(lambda: state(broker).online, "the hub to be seen")


async def test_a_broker_that_comes_back_with_an_old_state_is_put_right_at_the_sites_hello(
    hub: Hub, broker: FakeBroker
) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the first target")
        first = await newest(hub)
        old = broker.snapshot()
        await put(hub, instance(text="new"))
        await eventually(lambda: generation(linked) == 2, "the second target")
        await eventually(lambda: marked(hub))
        broker.restore(old)
        await eventually(lambda: linked.settled == 2, "the hub to be back")
        assert generation(linked) == 1
        linked.say(hello(held=first))
        await eventually(lambda: generation(linked) == 2, "the second target again")
        down = await eventually(linked.downs, "an answer")
        assert (down[0].resync.nonce, down[0].resync.generation, down[0].resync.conflict) == ("n1", 2, False)


def generation(linked: Linked, name: str = SITE) -> int:
    target = linked.held(name)
    return target.generation if target else 0


async def test_a_site_that_holds_the_newest_target_is_answered_and_sent_nothing(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        row = await newest(hub)
        linked.say(hello(held=row))
        down = (await eventually(linked.downs, "an answer"))[0]
        assert (down.resync.epoch, down.resync.generation, down.resync.digest) == (1, 1, row.digest if row else "")
        await never(lambda: len(linked.targets()) > 1)


@pytest.mark.invariant("target-never-goes-back")
async def test_a_hub_restored_from_an_old_copy_says_nothing_to_a_site_ahead_until_a_person_decides(
    hub: Hub, broker: FakeBroker, tmp_path: Path, clock: FakeClock
) -> None:
    await furnish(hub)
    copy = tmp_path / "copy"
    copy.mkdir()
    hub.store.close()
    shutil.copy(tmp_path / "hub.db", copy / "hub.db")
    with hub_at(tmp_path, clock) as later:  # goes on after the copy was made
        await later.load()
        for text in ("two", "three"):
            await put(later, instance(text=text))
        ahead = await newest(later)
    with hub_at(copy, clock) as restored:
        await restored.load()
        linked = Linked(restored, broker)
        async with Running(linked.run):
            await eventually(linked.held, "its old target, before it knows")
            linked.say(hello(held=ahead))
            down = (await eventually(linked.downs, "an answer"))[0]
            assert down.resync.conflict
            assert await site_state(restored) == "Conflict"
            published = len(linked.targets())
            await put(restored, instance(text="decided"))
            await put(restored, instance(text="decided again"))
            linked.say(hello(held=ahead, nonce="n2"))
            await eventually(lambda: len(linked.downs()) > 1, "another answer")
            await never(lambda: len(linked.targets()) != published)
            assert await site_state(restored) == "Conflict", "four generations later it is still for a person to decide"
            await sites.adopt_site(restored, SITE, author="ann")
            await eventually(lambda: generation(linked) == 4, "the adopted target")
            target = linked.held()
            assert target is not None
            assert target.content.resources[0].spec["content"] == "decided again"
            assert await site_state(restored) == "Pending"
            with pytest.raises(ConflictError):
                await sites.adopt_site(restored, SITE, author="ann")


async def test_a_site_that_holds_another_target_of_the_same_generation_is_in_conflict(
    hub: Hub, broker: FakeBroker
) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        linked.say(hello(epoch=1, generation=1, digest="0" * 64))
        assert (await eventually(linked.downs, "an answer"))[0].resync.conflict
        await sites.adopt_site(hub, SITE, author="ann")
        await eventually(lambda: generation(linked) == 2, "the adopted target")


async def test_a_site_that_does_not_take_what_it_was_told_is_told_again_each_minute(
    hub: Hub, broker: FakeBroker, clock: FakeClock
) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        await eventually(lambda: marked(hub))
        row = await newest(hub)
        linked.say(hello(held=row))
        await eventually(linked.downs, "an answer")
        linked.say(status(None, boot_id="boot-1"))  # now it says that it holds nothing
        await eventually(lambda: holds(hub, 0))
        clock.advance(publisher.REPAIR_EVERY)
        await eventually(lambda: clock.sleepers >= 2 and len(linked.targets()) >= 1, "the loops to sleep again")
        clock.advance(publisher.REPAIR_EVERY)
        await eventually(lambda: len(linked.targets()) > 1, "the target again")
        linked.say(status(row, sequence=2))
        await eventually(lambda: holds(hub, 1))
        await eventually(lambda: marked(hub))
        count = len(linked.targets())
        for _ in range(3):
            clock.advance(publisher.REPAIR_EVERY)
            await never(lambda: len(linked.targets()) > count)


async def test_a_deleted_site_is_erased_from_the_broker(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.held() and beacon(broker), "target and beacon")
        await apply.delete_site(hub, SITE, author="ann")
        await eventually(lambda: linked.held() is None and beacon(broker) is None, "an empty broker")
        linked.say(hello())
        await eventually(lambda: linked.idle, "its hello to be taken")
        assert [(each.site, each.reason) for each in await problems(hub)] == [("", "UnknownNode")]


async def test_a_target_that_is_gone_before_it_was_sealed_holds_up_no_other(
    hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = publisher.targets.waiting

    def waiting(connection: sqlite3.Connection, partitions: Any, limit: int) -> list[Any]:
        rows = stored(connection, partitions, limit)
        gone = [msgspec.structs.replace(each, site="press-09", digest=f"sha256:{'0' * 64}") for each in rows]
        return [*gone, *rows]  # its site was deleted after this was read

    monkeypatch.setattr(publisher.targets, "waiting", waiting)
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the other site's target")
    assert linked.held("press-09") is None


async def test_a_target_larger_than_the_broker_carries_is_told_and_holds_up_no_other(hub: Hub) -> None:
    broker = FakeBroker(7, drop=0.0, max_packet=20_000)
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await add_site(hub)
        await add_site(hub, "press-02", zone="east")
        await put(hub, BLUEPRINT, instance(text="x" * 30_000), instance("east", "east"))
        await eventually(lambda: linked.held("press-02"), "the other site's target")
        await eventually(lambda: has_problem(hub, "TooLarge"))
        assert linked.held() is None
        await put(hub, instance(text="small"))
        await eventually(linked.held, "a target that fits")
        await eventually(lambda: marked(hub))
        assert not await has_problem(hub, "TooLarge")


async def test_a_site_that_keeps_refusing_its_target_is_given_it_ever_more_rarely(hub: Hub, clock: FakeClock) -> None:
    """Reports of the refusal every minute, a hello every quarter of an hour, and the minutely repair: for six hours."""
    linked = Linked(hub, FakeBroker(7, drop=0.0, duplicate=0.0))
    refusal = messages.Record("TargetReport", 0, {"level": "A2", "outcome": "rejected", "reason": "MissingFeature"})
    topic = topics.topic(Address("up", SITE, NODE, stream="p0"))
    async with Running(linked.run):
        await furnish(hub)
        await eventually(linked.held, "the target")
        await eventually(lambda: marked(hub))
        group = Group(1, "records", streams.STAMP, records.encode([refusal])[0].blob)
        ours: dict[str, Any] = {"stream": "p0", "fleet": FLEET, "site": SITE, "node": NODE, "signer": NODE_KEY}
        chain = GENESIS
        for minute in range(360):
            linked.broker.publish(topic, streams.sealed([group], first=minute + 1, before=chain, **ours))
            chain = streams.chain([group], minute + 1, chain)
            if minute % 15 == 0:
                linked.say(alive("boot-1", minute * 60))
            await eventually(lambda: linked.idle, "it to be taken")
            await linked.publisher.repair()
            await eventually(lambda: marked(hub))
            clock.advance(60)
        assert 6 <= len(linked.targets()) <= 15
        row = await newest(hub)
        linked.say(alive("boot-1", 360 * 60, held=row))
        await eventually(lambda: linked.idle, "it to be taken")
        count = len(linked.targets())
        linked.say(alive("boot-1", 361 * 60))
        await eventually(lambda: len(linked.targets()) == count + 1, "help at once for one that lost it")


async def test_facts_whose_placement_could_not_be_written_are_placed_when_it_can_be(
    hub: Hub, broker: FakeBroker, clock: FakeClock
) -> None:
    linked = Linked(hub, broker)
    tried: list[set[SiteName]] = []

    async def on_facts(names: set[SiteName]) -> None:
        tried.append(names)
        if len(tried) == 1:
            raise TransientError("full", reason="DiskFull")

    linked.session._on_facts = on_facts
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(hello(facts={"arch": "riscv64"}))
        await eventually(lambda: freed(clock, linked, downs=True), "the hello to be answered after all")
    assert tried[:2] == [{SITE}, {SITE}]


async def test_what_could_not_be_accepted_is_no_problem_for_ever(
    hub: Hub, broker: FakeBroker, clock: FakeClock
) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(hello("forged"), STRANGER)
        await eventually(lambda: has_problem(hub, "BadSignature"))
        await linked.publisher.repair()
        assert await has_problem(hub, "BadSignature")
        clock.advance(publisher.FORGET_AFTER + 1)
        await linked.publisher.repair()
        assert await problems(hub) == []
