"""What every connection promises, whoever is the broker."""

from collections import Counter

import anyio
import pytest

from holdfast_protocol.errors import LinkLost, MisuseError
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Subscription, Will
from support.either import Broker
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
ALL = [Subscription("t/#")]


async def take(connection: Connection, count: int) -> list[Delivery]:
    with anyio.fail_after(HANGS_S):
        return [await connection.receive() for _ in range(count)]


async def quiet(connection: Connection, other: Connection) -> list[Delivery]:
    """Return all that had been sent before this was called."""
    await other.publish("t/end", b"end")
    found: list[Delivery] = []
    with anyio.fail_after(HANGS_S):
        while not found or found[-1].topic != "t/end":
            found.append(await connection.receive())
    with anyio.move_on_after(0.02):  # Mosquitto keeps the order of topics; the twin has the rest ready at once
        while True:
            found.append(await connection.receive())
    for delivery in found:
        connection.acknowledge(delivery)
    return [delivery for delivery in found if delivery.topic != "t/end"]


@pytest.mark.invariant("commit-before-ack")
async def test_what_was_not_acknowledged_comes_again_and_says_so(broker: Broker, version: int) -> None:
    async with broker.connected("tx") as (sender, _):
        async with broker.connected("rx", version=version) as (first, _):
            await first.subscribe(ALL)
            await sender.publish("t/a", b"kept")
            await sender.publish("t/a", b"lost")
            kept, lost = await take(first, 2)
            assert not kept.duplicate
            first.acknowledge(kept)
        async with broker.connected("rx", version=version) as (second, granted):
            assert granted.session_present
            (again,) = await take(second, 1)
            assert (again.payload, again.duplicate, again.mid) == (b"lost", True, lost.mid)
            second.acknowledge(again)
        async with broker.connected("rx", version=version) as (third, _):
            assert await quiet(third, sender) == []


async def test_one_topic_keeps_its_order(broker: Broker, version: int) -> None:
    async with broker.connected("tx") as (sender, _), broker.connected("rx", version=version) as (receiver, _):
        await receiver.subscribe(ALL)
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(sender.publish, f"t/{number % 3}", b"%d" % number)
        found = await take(receiver, 200)
        for topic, count in Counter(each.topic for each in found).items():
            numbers = [int(each.payload) for each in found if each.topic == topic]
            assert numbers == sorted(numbers)
            assert count == len(range(int(topic[2:]), 200, 3))


@pytest.mark.parametrize(("handling", "delivered"), [(0, 1), (1, 0), (2, 0)])
async def test_a_resumed_session_gets_retained_messages_again_only_when_it_asks_for_them(
    broker: Broker, handling: int, delivered: int
) -> None:
    async with broker.connected("tx") as (sender, _):
        await sender.publish("t/a", b"target", retain=True)
        async with broker.connected("rx") as (first, _):
            await first.subscribe(ALL)
            (target,) = await take(first, 1)
            assert target.retain
            first.acknowledge(target)
            await sender.publish("t/a", b"target", retain=True)
            (live,) = await take(first, 1)
            assert not live.retain
            first.acknowledge(live)
        async with broker.connected("rx") as (second, granted):
            assert granted.session_present
            await second.subscribe([Subscription("t/#", retained=handling)])
            assert [each.payload for each in await quiet(second, sender)] == [b"target"] * delivered


async def test_messages_wait_for_a_session_and_a_clean_start_ends_it(broker: Broker) -> None:
    async with broker.connected("tx") as (sender, _):
        async with broker.connected("rx") as (first, granted):
            assert not granted.session_present
            await first.subscribe(ALL)
        await sender.publish("t/a", b"1")
        async with broker.connected("rx") as (second, _):
            assert [each.payload for each in await take(second, 1)] == [b"1"]
        async with broker.connected("rx", clean_start=True) as (third, granted):
            assert not granted.session_present
            await third.subscribe(ALL)
            assert await quiet(third, sender) == []


async def test_everything_raises_once_the_broker_is_gone(broker: Broker, version: int) -> None:
    raised: list[str] = []
    async with broker.connected("rx", version=version) as (connection, _):
        await connection.subscribe(ALL)
        await connection.publish("t/a", b"1")
        (delivery,) = await take(connection, 1)

        async def waits() -> None:
            with pytest.raises(LinkLost):
                await connection.receive()
            raised.append("receive")

        with anyio.fail_after(HANGS_S):
            async with anyio.create_task_group() as group:
                group.start_soon(waits)
                await anyio.wait_all_tasks_blocked()
                broker.kill()
        with pytest.raises(LinkLost):
            connection.acknowledge(delivery)
        with pytest.raises(LinkLost):
            await connection.publish("t/a", b"2")
        with pytest.raises(LinkLost):
            await connection.subscribe(ALL)
        with pytest.raises(LinkLost):
            await connection.receive()
    assert raised == ["receive"]
    with pytest.raises(LinkLost) as caught:
        await broker.dial("rx").connect()
    assert caught.value.reason == "Unreachable"
    broker.start()
    async with broker.connected("rx") as (again, _):
        await again.publish("t/a", b"3")


async def test_a_publisher_hears_whether_anybody_listens(broker: Broker) -> None:
    async with broker.connected("tx") as (sender, _):
        assert await sender.publish("t/a", b"1") == 16
        await sender.subscribe(ALL)
        assert await sender.publish("t/a", b"1") == 0
        assert await sender.publish("t/a", b"1", qos=0) == 0


async def test_a_will_is_published_when_the_connection_breaks_and_not_when_it_is_closed(broker: Broker) -> None:
    will = Will("t/will", b"dead", retain=False)
    async with broker.connected("watcher") as (watcher, _):
        await watcher.subscribe(ALL)
        async with broker.connected("node", will=will):
            pass
        assert await quiet(watcher, watcher) == []
        async with broker.connected("node", will=will) as (node, _):
            broker.cut(node)
            assert [each.payload for each in await take(watcher, 1)] == [b"dead"]


async def test_who_takes_a_session_over_ends_the_other(broker: Broker) -> None:
    async with broker.connected("node") as (old, _), broker.connected("node"):
        with pytest.raises(LinkLost) as caught, anyio.fail_after(HANGS_S):
            await old.receive()
        assert caught.value.reason in ("TakenOver", "Lost")  # Mosquitto 2.0.11 ends it without a word


async def test_a_message_larger_than_its_reader_takes_vanishes_and_the_next_one_comes(broker: Broker) -> None:
    async with broker.connected("tx") as (sender, _), broker.connected("rx", max_packet=1000) as (receiver, _):
        await receiver.subscribe(ALL)
        assert await sender.publish("t/a", bytes(2000)) == 0
        assert await quiet(receiver, sender) == []


async def test_a_message_larger_than_the_broker_takes_is_our_mistake_and_costs_no_connection(broker: Broker) -> None:
    async with broker.connected("tx") as (sender, granted):
        with pytest.raises(MisuseError, match="the broker takes"):
            await sender.publish("t/a", bytes(granted.max_packet))
        await sender.publish("t/a", bytes(granted.max_packet - 100))


async def test_a_caller_that_gives_up_costs_nobody_else_anything(broker: Broker) -> None:
    async with broker.connected("tx") as (sender, _):
        await sender.subscribe(ALL)
        for _ in range(5):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await sender.publish("t/a", b"perhaps")
        assert await sender.publish("t/b", b"surely") == 0
        assert b"surely" in [each.payload for each in await quiet(sender, sender)]


async def test_a_connection_closes_twice_without_a_word(broker: Broker) -> None:
    connection = broker.dial("tx")
    await connection.close()
    async with broker.connected("tx") as (sender, _):
        await sender.close()
        with pytest.raises(LinkLost) as caught:
            await sender.publish("t/a", b"1")
        assert caught.value.reason == "Closed"


async def test_what_has_come_is_received_together_in_order_and_no_more_than_asked_for(
    broker: Broker, version: int
) -> None:
    async with broker.connected("tx") as (sender, _), broker.connected("rx", version=version) as (reader, _):
        await reader.subscribe(ALL)
        for number in range(50):
            await sender.publish("t/a", b"%d" % number)
        found: list[Delivery] = []
        with anyio.fail_after(HANGS_S):
            while len(found) < 50:
                batch = await reader.receive_all(20, 0.01)
                assert 1 <= len(batch) <= 20
                found += batch
        assert [int(each.payload) for each in found] == list(range(50))
        reader.acknowledge(*found)
        await sender.publish("t/a", bytes(40))
        await sender.publish("t/a", bytes(40))
        with anyio.fail_after(HANGS_S):
            assert [len(await reader.receive_all(20, 0.01, 50)) for _ in range(2)] == [1, 1]


async def test_who_leaves_knows_that_every_acknowledgement_was_read_and_the_rest_comes_again(
    broker: Broker, version: int
) -> None:
    async with broker.connected("tx") as (sender, _):
        async with broker.connected("rx", version=version) as (first, _):
            await first.subscribe(ALL)
            for number in range(50):
                await sender.publish("t/a", b"%d" % number)
            first.acknowledge(*await take(first, 40))
            with anyio.fail_after(HANGS_S):
                assert await first.leave()
            with pytest.raises(LinkLost):
                await first.receive()
        async with broker.connected("rx", version=version) as (second, granted):
            assert granted.session_present
            assert [int(each.payload) for each in await take(second, 10)] == list(range(40, 50))
            assert await quiet(second, sender) == []


async def test_after_a_round_trip_the_broker_has_read_every_acknowledgement(broker: Broker, version: int) -> None:
    async with broker.connected("tx") as (sender, _):
        async with broker.connected("rx", version=version) as (first, _):
            await first.subscribe(ALL)
            for number in range(50):
                await sender.publish("t/a", b"%d" % number)
            for delivery in await take(first, 50):
                first.acknowledge(delivery)
            with anyio.fail_after(HANGS_S):
                await first.round_trip()
        async with broker.connected("rx", version=version) as (second, granted):
            assert granted.session_present
            assert await quiet(second, sender) == []
    with pytest.raises(LinkLost):
        await second.round_trip()
