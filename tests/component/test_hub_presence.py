"""How sites see the hub, and how it sees them: its state and its beacons, and nodes that are gone."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from holdfast_hub.link import publisher
from holdfast_hub.operations import apply
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.wire import envelope, strict, topics
from holdfast_protocol.wire.target import BEACON, Beacon
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import HUB, SITE
from support.clock import FakeClock, Running, eventually
from support.hub_link import beacon, furnish, offline, online, state
from support.hubs import (
    BLUEPRINT,
    Linked,
    add_site,
    hello,
    hub_at,
    instance,
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


async def test_the_hub_is_seen_and_its_will_says_when_it_is_gone(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await eventually(lambda: linked.settled, "the hub")
        first = state(broker)
        assert first.online
        broker.cut()
        assert (state(broker).online, state(broker).session) == (False, first.session)
        broker.heal()
        await eventually(lambda: state(broker).online, "the hub again")
        assert state(broker).session != first.session
    assert not state(broker).online, "it says so itself when it ends"


async def test_beacons_are_refreshed_before_they_expire(hub: Hub, broker: FakeBroker, clock: FakeClock) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        first = await eventually(lambda: beacon(broker), "a beacon")
        await eventually(lambda: clock.sleepers >= 2, "the loops to sleep")
        clock.advance(publisher.BEACON_LIFE / 3)
        second = await eventually(
            lambda: (now := beacon(broker)) and now.issued_at > first.issued_at and now, "another"
        )
        assert second.expires_at > first.expires_at
        assert first.expires_at > second.issued_at


async def test_nodes_are_taken_for_offline_when_the_broker_has_lost_what_it_knew(hub: Hub, broker: FakeBroker) -> None:
    linked = Linked(hub, broker)
    async with Running(linked.run):
        await furnish(hub)
        await eventually(lambda: linked.settled, "the hub")
        linked.say(hello())
        await eventually(lambda: online(hub, "s1"))
        broker.forget()
        await eventually(lambda: linked.settled == 2, "the hub to be back")
        assert await offline(hub)
        linked.say(status(None, sequence=3))
        await eventually(lambda: online(hub, "s1"))


class Wire:
    """A broker's retained messages; things may happen while one is on its way."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        while self.meanwhile:
            await self.meanwhile.pop()()
        self.retained[topic] = payload


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_beacon_is_of_now_though_its_site_changed_while_it_went_out(
    hub: Hub, broker: FakeBroker, clock: FakeClock, *, deleted: bool
) -> None:
    made, wire = Linked(hub, broker).publisher, Wire()
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    await made.publish_waiting(wire, 10**6)  # type: ignore[arg-type]

    async def change() -> None:
        await (apply.delete_site(hub, SITE, author="ann") if deleted else put(hub, instance(text="new")))
        await made.publish_waiting(wire, 10**6)  # type: ignore[arg-type]

    wire.meanwhile = [change]
    async with Running(lambda: made._run_beacons(wire)):  # type: ignore[arg-type]
        await eventually(lambda: made._beacons_at > 0)
    said = wire.retained[topics.topic(Address("beacon", SITE))]
    if deleted:
        assert said == b""
    else:
        payload = envelope.open_sealed(said, BEACON, {HUB.keyid: HUB.public}, limit=100_000)
        assert strict.decode(payload, Beacon, limit=100_000).generation == 2
