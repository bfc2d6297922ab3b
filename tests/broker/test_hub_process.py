"""The hub as a process beside a real broker: whatever is killed when, what was committed reaches the sites."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_hub.service import hub_key
from holdfast_protocol.runtime.mqtt import Options, Subscription
from holdfast_protocol.runtime.paho import dial
from holdfast_protocol.wire import topics
from holdfast_protocol.wire.names import FleetName
from holdfast_protocol.wire.target import Expected, Target, open_target
from holdfast_protocol.wire.topics import Address
from support import mosquitto
from support.builders import SITE
from support.fleet import Hub, ended
from support.hubs import BLUEPRINT, instance
from support.mosquitto import Mosquitto
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with mosquitto.running("hub.conf") as running:
        yield running


@pytest.fixture
def hub(tmp_path: Path, broker: Mosquitto) -> Iterator[Hub]:
    made = Hub(tmp_path, broker=f"mqtt://127.0.0.1:{broker.port}")
    with ended(made):
        made.start()
        made.ready()
        assert made.call("site", "add", SITE, "--zone", "west").status == 0
        apply(made, BLUEPRINT)
        yield made


def apply(hub: Hub, text: str) -> None:
    answer = hub.call("apply", "-f", "-", given=text)
    assert answer.status == 0, answer.err


async def retained(broker: Mosquitto, hub: Hub, within: float = HANGS_S) -> Target:
    """Return the target the broker keeps for the site, as soon as there is one."""
    signer = hub_key(hub.data)
    keys = Expected(FleetName("acme"), SITE, {signer.keyid: signer.public}, {signer.keyid: 1})
    connection = dial(Options("reader", port=broker.port, clean_start=True, session_expiry=0))
    with anyio.fail_after(within):
        await connection.connect()
        try:
            await connection.subscribe([Subscription(topics.topic(Address("target", SITE)))])
            return open_target((await connection.receive()).payload, keys)
        finally:
            await connection.close()


async def test_a_hub_killed_between_commit_and_publish_publishes_at_its_next_start(hub: Hub, broker: Mosquitto) -> None:
    broker.kill()
    apply(hub, instance(text="committed"))  # answered: the rows are there, the broker is not
    hub.kill()
    broker.start()
    hub.start()
    target = await retained(broker, hub)
    assert (target.generation, target.content.resources[0].spec["content"]) == (1, "committed")


async def test_a_broker_killed_with_everything_it_held_is_filled_again(hub: Hub, broker: Mosquitto) -> None:
    apply(hub, instance(text="one"))
    before = await retained(broker, hub)
    broker.wipe()
    assert await retained(broker, hub) == before
    apply(hub, instance(text="two"))
    with anyio.fail_after(HANGS_S):
        while (await retained(broker, hub)).generation != 2:
            await anyio.sleep(0.01)


async def test_a_hub_ends_in_order_and_takes_its_socket_along(hub: Hub) -> None:
    assert hub.stop() == 0
    assert not hub.socket.exists()
    hub.start()
    hub.ready()
    assert hub.site(SITE)["state"] == "NeverSeen"


def test_a_hub_with_a_broker_of_its_own_has_both_from_one_command(tmp_path: Path) -> None:
    hub = Hub(tmp_path, listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(hub):
        hub.start()
        hub.ready()
        until(lambda: connected(hub), HANGS_S, "its broker")


def connected(hub: Hub) -> bool:
    found = hub.call("doctor", "-o", "json").json["findings"]
    return any(each["well"] is True for each in found if each["subject"] == "broker")
