"""Commands and desired properties: from a person at the hub to a device behind its site's broker, and back, once."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_edge.ingest.orders import run_deadlines, run_orders
from holdfast_edge.store.orders import Orders
from holdfast_hub.operations import commands, devices
from holdfast_hub.store.commands import DeviceCommand
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.wire import topics
from holdfast_protocol.wire.commands import Command, Reply, open_command, seal_command, seal_reply
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import FLEET, HUB, NODE, SITE, STRANGER
from support.clock import FakeClock, eventually
from support.device_commands import ME, ODD, noted, world
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


async def test_a_command_is_given_once_and_its_answer_recorded(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.start_site()
        order = await made.order("open", {"by": 5})
        ended = await made.ended(order)
        assert (ended.state, ended.reason, ended.answer) == ("answered", "", {"done": True})
        (given,) = made.given()
        assert given["topic"] == "commands/press/open"
        assert (given["id"], given["data"], given["deadline"]) == (order.id, {"by": 5}, order.deadline)
        shown = await devices.show_device(made.hub, SITE, "press")
        assert [event.action for event in shown["history"]] == ["command-ended", "command-device"]
        assert shown["history"][1].actor == "ann"


async def test_a_device_whose_name_fits_no_topic_is_commanded_and_answers(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.start_site()
        order = await commands.command_device(made.hub, SITE, ODD, "go on", None, seconds=7200, author="ann")
        assert (await made.ended(order)).state == "answered"
        assert [each["topic"] for each in made.given()] == ["commands/hall%2Fpress%201/go%20on"]


async def test_a_command_waits_for_a_site_that_is_away(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        order = await made.order()
        await anyio.sleep(0.05)
        assert (await commands.show_command(made.hub, order.id)).sent == 0
        made.start_site()
        assert (await made.ended(order)).state == "answered"


async def test_a_command_whose_deadline_passed_before_its_site_came_is_never_given(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        ended = await made.ended(await made.order(seconds=5))
        assert (ended.state, ended.reason) == ("expired", "NeverSent")
        made.start_site()
        assert (await made.ended(await made.order("next"))).state == "answered"
        assert [each["topic"] for each in made.given()] == ["commands/press/next"]


async def test_a_device_that_says_nothing_ends_the_command_at_its_deadline(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.answer = None
        made.start_site()
        order = await made.order(seconds=7200)
        await eventually(made.given, "the command to be given")
        made.pace = 100.0
        ended = await made.ended(order)
        assert (ended.state, ended.reason) == ("failed", "NoAnswer")
        assert len(made.given()) == 1


async def test_an_error_is_a_failure_with_its_words(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.answer = {"error": "jammed"}
        made.start_site()
        ended = await made.ended(await made.order())
        assert (ended.state, ended.reason, ended.answer) == ("failed", "DeviceError", {"error": "jammed"})


@pytest.mark.parametrize("seed", range(4))
async def test_on_brokers_that_lose_repeat_and_cut_nothing_is_given_twice(tmp_path: Path, seed: int) -> None:
    async with world(tmp_path, seed, duplicate=0.3, drop=0.03) as made:
        made.pace = 2.0
        made.start_site()
        orders = [await made.order(f"n{number}", number, seconds=12_000) for number in range(10)]
        await eventually(lambda: len(noted(tmp_path)) >= 3, "some to be given")
        made.kill_site()
        made.start_site()
        await eventually(lambda: len(noted(tmp_path)) == 10, "all to be given, or taken for it")
        made.pace = 50.0
        for order in orders:
            assert (await made.ended(order)).state in ("answered", "failed")
        names = [each["id"] for each in made.given()]
        assert len(names) == len(set(names))


@pytest.mark.invariant("intent-before-effect")
async def test_what_was_about_to_be_given_when_the_agent_died_is_not_given_again(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        order = await made.order(seconds=30)
        orders = Orders(tmp_path, 0)
        command = Command(FLEET, SITE, ME, order.id, "command", "press", "open", deadline=order.deadline, at=order.at)
        await orders.take(command, 1)
        assert await orders.give(order.id)
        orders.close()  # the kill: noted, and not published
        (tmp_path / "site").mkdir()
        for name in ("orders.db", "orders.db-wal"):
            if (tmp_path / name).exists():
                (tmp_path / name).rename(tmp_path / "site" / name)
        made.start_site()
        assert (await made.ended(order)).reason == "NoAnswer"
        assert made.given() == []


async def test_an_order_is_given_once_and_an_older_version_of_properties_is_not_taken(tmp_path: Path) -> None:
    orders = Orders(tmp_path, 0)
    try:
        command = Command(FLEET, SITE, ME, "a", "command", "press", "open", deadline=9_000, at=1)
        await orders.take(command, 1)
        assert [await orders.give("a"), await orders.give("a")] == [True, False]
        await orders.take(command, 2)
        assert [each.state for each in await orders.open()] == ["given"]
        for version in (2, 1, 2):
            wanted = Command(FLEET, SITE, ME, f"v{version}", "desire", "press", data={"x": version}, version=version)
            await orders.take(wanted, 1)
        assert [(each.version, each.properties) for each in await orders.desired()] == [(2, {"x": 2})]
    finally:
        orders.close()


async def test_a_site_that_lost_its_memory_gives_nothing_ordered_before(tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_bytes(b"not a database" * 100)
    orders = Orders(tmp_path, 1_000)
    try:
        assert "set aside" in orders.damage
        await orders.take(Command(FLEET, SITE, ME, "a", "command", "press", "open", deadline=9_000, at=999), 1_001)
        await orders.take(Command(FLEET, SITE, ME, "b", "command", "press", "open", deadline=9_000, at=1_000), 1_001)
        assert [each.id for each in await orders.open()] == ["b"]
        assert [(each.id, each.reason) for each in await orders.unreplied()] == [("a", "StartedAnew")]
    finally:
        orders.close()


async def test_a_site_without_devices_says_so(tmp_path: Path) -> None:
    orders, clock = Orders(tmp_path, 0), FakeClock()
    await orders.take(Command(FLEET, SITE, ME, "a", "command", "press", "open", deadline=2**50, at=1), 1)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_orders(FakeBroker().dial, None, orders, clock))
        with anyio.fail_after(HANGS_S):
            while not (ended := await orders.unreplied()):
                await anyio.sleep(0.002)
        group.cancel_scope.cancel()
    orders.close()
    assert [(each.outcome, each.reason) for each in ended] == [("failed", "NoDevices")]


async def test_a_deadline_passes_also_while_the_site_s_broker_is_away(tmp_path: Path) -> None:
    orders, clock = Orders(tmp_path, 0), FakeClock()
    now = int(clock.wall() * 1000)
    await orders.take(Command(FLEET, SITE, ME, "a", "command", "press", "open", deadline=now + 5_000, at=1), now)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_deadlines(orders, clock))
        await eventually(lambda: clock.sleepers)
        assert len(await orders.open()) == 1
        clock.advance(10)
        with anyio.fail_after(HANGS_S):
            while not (ended := await orders.unreplied()):
                await anyio.sleep(0.002)
        group.cancel_scope.cancel()
    orders.close()
    assert [(each.outcome, each.reason) for each in ended] == [("expired", "BrokerAway")]


async def test_the_first_outcome_stays_and_a_node_speaks_for_its_own_commands_only(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.start_site()
        order = await made.order()
        ended = await made.ended(order)
        late = Reply(FLEET, SITE, ME, order.id, "failed", "Changed")
        made.broker.publish(topics.topic(Address("reply", SITE, ME, id=order.id)), seal_reply(late, NODE))
        made.answer = None
        other = await made.order("other")
        forged = Reply(FLEET, SITE, ME, other.id, "answered")
        made.broker.publish(topics.topic(Address("reply", SITE, ME, id=other.id)), seal_reply(forged, STRANGER))
        made.broker.publish(topics.topic(Address("reply", SITE, ME, id="unknown")), seal_reply(late, NODE))
        await eventually(lambda: len(made.given()) == 2)
        assert await commands.show_command(made.hub, order.id) == ended
        assert (await commands.show_command(made.hub, other.id)).state == "waiting"


@pytest.mark.parametrize(
    ("name", "data", "seconds"),
    [
        ("a\nb", None, 60),
        ("x" * 257, None, 60),
        ("", None, 60),
        ("x", "y" * 70_000, 60),
        ("x", None, 0),
        ("x", None, 10**9),
        ("x", {"to": 2**63}, 60),
        ("x", [10**30], 60),
    ],
    ids=["control", "long", "empty", "large", "no time", "for ever", "number", "huge number"],
)
async def test_an_impossible_command_is_refused(tmp_path: Path, name: str, data: Any, seconds: int) -> None:
    async with world(tmp_path) as made:
        with pytest.raises(InputError):
            await made.order(name, data, seconds)


async def test_an_order_goes_out_once_and_again_only_when_its_node_says_hello(tmp_path: Path) -> None:
    def told(order: DeviceCommand) -> int:
        return sum(each.topic.endswith(f"/cmd/{order.id}") for each in made.broker.published)

    def hellos() -> int:
        return sum(each.topic.endswith("/hello") for each in made.broker.published)

    async with world(tmp_path) as made:
        made.answer = None
        made.start_site()
        orders = []
        for number in range(8):
            orders.append(await made.order(f"n{number}"))
            await eventually(lambda: told(orders[-1]) > 0)
        assert told(orders[0]) <= 1 + hellos() < 8
        made.kill_site()
        before = told(orders[0])
        made.start_site()
        await eventually(lambda: told(orders[0]) > before)


async def test_nothing_is_ordered_of_a_device_that_never_spoke(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        with pytest.raises(NotFoundError):
            await commands.command_device(made.hub, SITE, "ghost", "open", None, seconds=60, author="ann")
        deep: Any = 1
        for _ in range(20):
            deep = [deep]
        with pytest.raises(InputError):
            await made.order("open", deep)


def test_a_command_is_taken_only_from_the_hub_and_whole() -> None:
    command = Command(FLEET, SITE, ME, "a", "command", "press", "open", {"x": [1]}, deadline=5)
    keys = {HUB.keyid: HUB.public}
    assert open_command(seal_command(command, HUB), keys) == command
    for wrong in ({"device": "a\0b"}, {"name": ""}, {"deadline": -1}, {"v": 2}, {"verb": "desire", "data": 3}):
        with pytest.raises(Exception, match=r"is no name|out of range|version|a map"):
            open_command(seal_command(msgspec.structs.replace(command, **wrong), HUB), keys)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="sign"):
        open_command(seal_command(command, STRANGER), keys)
