"""A hub and a broker that does everything a broker may do, and what a test asks of the two."""

from typing import Any

from holdfast_hub.operations import site_views
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import status as heard
from holdfast_hub.store.status import NodeRow, ProblemRow
from holdfast_protocol.wire import envelope, messages, strict, topics
from holdfast_protocol.wire.messages import Hello, HubState
from holdfast_protocol.wire.target import BEACON, Beacon
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import HUB, SITE
from support.builders import NODE as NODE_KEY
from support.clock import FakeClock
from support.hubs import (
    BLUEPRINT,
    NODE,
    Linked,
    add_site,
    give_key,
    hello,
    instance,
    newest,
    put,
)


async def furnish(hub: Hub) -> None:
    """Give the hub one site with a node, a blueprint and an instance."""
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance())


async def node(hub: Hub) -> NodeRow:
    found = await hub.store.read(lambda held: heard.node(held, SITE, NODE))
    assert found is not None
    return found


async def problems(hub: Hub) -> list[ProblemRow]:
    return await hub.store.read(heard.problems)


async def site_state(hub: Hub) -> str:
    return (await site_views.list_sites(hub))[0].state


async def online(hub: Hub, session: str) -> bool:
    found = await node(hub)
    return found.online and found.session == session


async def offline(hub: Hub) -> bool:
    return not (await node(hub)).online


def freed(clock: FakeClock, linked: Linked, *, downs: bool = False) -> bool:
    clock.advance(5.0)
    return bool(linked.downs()) if downs else any(each.reason == "StoreBusy" for each in linked.states)


def alive(boot: str, seconds: int, incarnation: str = "", **fields: Any) -> Hello:
    """Return a hello of a boot that has lasted for so many seconds."""
    streams_ = {"p0": messages.StreamState(incarnation, 1, 1, 0)} if incarnation else {}
    values = {"boot_id": boot, "clock": messages.Clock(0, seconds * 1000), "streams": streams_, "nonce": f"n{seconds}"}
    return hello(f"{boot}-{seconds}", **values, **fields)


async def marked(hub: Hub) -> bool:
    row = await newest(hub)
    return row is not None and row.published


def beacon(broker: FakeBroker) -> Beacon | None:
    data = broker.retained.get(topics.topic(Address("beacon", SITE)))
    if data is None:
        return None
    payload = envelope.open_sealed(data, BEACON, {HUB.keyid: HUB.public}, limit=10_000)
    return strict.decode(payload, Beacon, limit=10_000)


def state(broker: FakeBroker) -> HubState:
    return messages.open_message(broker.retained["hf/1/fleet/hub"], HubState, {HUB.keyid: HUB.public})


async def holds(hub: Hub, generation: int) -> bool:
    return (await node(hub)).generation == generation


async def has_problem(hub: Hub, reason: str) -> bool:
    return any(each.reason == reason for each in await problems(hub))
