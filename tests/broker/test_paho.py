"""The driver on its own: what it does about brokers that are slow, and of what it promises of order, floods and ends."""

import socket
import struct
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import pytest

from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Options
from support import mosquitto
from support.clock import eventually
from support.waiting import HANGS_S
from support.wrong_broker import ACCEPTED, ALL, connected, publish_packet, sends, wrong_broker

pytestmark = pytest.mark.anyio


async def test_reading_stops_when_the_queue_is_full_and_nothing_is_lost(real: mosquitto.Mosquitto) -> None:
    count = 3000
    async with connected(real.port, "tx") as sender:
        async with connected(real.port, "rx") as first:
            await first.subscribe(ALL)
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(sender.publish, "t/a", b"%d" % number)
        async with connected(real.port, "rx", queue=50) as slow:
            deliveries = slow._deliveries  # type: ignore[attr-defined]
            await eventually(lambda: len(deliveries) == 50)
            found = []
            with anyio.fail_after(HANGS_S):
                for number in range(count):
                    delivery = await slow.receive()
                    found.append(int(delivery.payload))
                    slow.acknowledge(delivery)
                    assert len(deliveries) <= 50
                    if number % 100 == 0:
                        await anyio.sleep(0)
            assert found == list(range(count))


async def test_a_queue_is_also_full_of_few_large_messages(real: mosquitto.Mosquitto) -> None:
    async with connected(real.port, "tx") as sender, connected(real.port, "rx", max_packet=100_000) as slow:
        await slow.subscribe(ALL)
        for _ in range(20):
            await sender.publish("t/a", bytes(40_000))
        deliveries = slow._deliveries  # type: ignore[attr-defined]
        await eventually(lambda: len(deliveries) == 3)
        for _ in range(20):
            slow.acknowledge(await slow.receive())
            assert len(deliveries) <= 3


async def test_who_publishes_while_a_backlog_comes_in_gets_on_though_nobody_empties_the_queue(
    real: mosquitto.Mosquitto,
) -> None:
    count, taken, rounds = 2000, 0, 0
    async with connected(real.port, "tx") as sender:
        async with connected(real.port, "rx") as first:
            await first.subscribe(ALL)
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(sender.publish, "t/a", b"%d" % number)
    with anyio.fail_after(HANGS_S):
        while taken < count:
            rounds += 1
            async with connected(real.port, "rx", queue=20) as both:
                with suppress(LinkLost):
                    while taken < count:
                        delivery = await both.receive()
                        assert int(delivery.payload) == taken
                        await both.publish("elsewhere", b"an answer")
                        both.acknowledge(delivery)
                        taken += 1
    assert rounds > 1  # else Mosquitto has learnt to respect the receive maximum, and this tests nothing


async def test_acknowledgements_leave_in_the_order_of_the_calls() -> None:
    packets = [publish_packet(2, b"t/a", b"x", mid) for mid in (1, 2, 3)]
    received = bytearray()

    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED + b"".join(packets))
        while True:
            received.extend(await stream.receive())

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        one, two, three = [await connection.receive() for _ in range(3)]
        for each in (two, one, three):
            connection.acknowledge(each)
        await eventually(lambda: len(received) == 12)
        assert received == b"\x40\x02\0\x02\x40\x02\0\x01\x40\x02\0\x03"


async def test_what_comes_during_the_rest_is_received_with_the_first() -> None:
    packets = [publish_packet(2, b"t/a", b"x", mid) for mid in (1, 2, 3)]
    resting = anyio.Event()

    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED + packets[0])
        await resting.wait()
        await stream.send(packets[1])
        await stream.send(packets[2])
        await anyio.sleep_forever()

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        rest = connection._socket.rest  # type: ignore[attr-defined]

        async def told(seconds: float) -> None:
            resting.set()
            await rest(seconds)

        connection._socket.rest = told  # type: ignore[attr-defined]
        assert [each.mid for each in await connection.receive_all(10, 0.2)] == [1, 2, 3]


async def test_what_was_read_before_the_connection_ended_is_received_and_then_it_is_lost() -> None:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED + publish_packet(2, b"t/a", b"x", 1))

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        (only,) = await connection.receive_all(10, 0.05)
        with pytest.raises(LinkLost):
            connection.acknowledge(only)
        with pytest.raises(LinkLost):
            await connection.receive_all(10, 0.05)


@pytest.mark.parametrize("granted", [1, 3])
async def test_no_more_publishes_are_on_their_way_than_the_broker_granted(granted: int) -> None:
    unanswered: list[int] = []
    most = 0

    async def serve(stream: anyio.abc.ByteStream) -> None:
        nonlocal most
        await stream.send(bytes.fromhex("200600000321") + struct.pack("!H", granted))
        pending = b""
        while True:
            with anyio.move_on_after(0.02) as scope:
                pending += await stream.receive()
                while len(pending) >= 2 and len(pending) >= 2 + pending[1]:
                    packet, pending = pending[: 2 + pending[1]], pending[2 + pending[1] :]
                    unanswered.append(struct.unpack("!H", packet[2 + 2 + 3 : 2 + 2 + 3 + 2])[0])
                    most = max(most, len(unanswered))
            if scope.cancelled_caught and unanswered:  # nothing more comes: let one through
                await stream.send(b"\x40\x02" + struct.pack("!H", unanswered.pop(0)))

    async with wrong_broker(serve) as port, connected(port, "tx") as connection:
        with anyio.fail_after(HANGS_S):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(connection.publish, "t/a", b"x")
    assert most == granted


async def test_reading_a_flood_leaves_others_their_turn() -> None:
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "rx") as connection:
        packets = connection._socket  # type: ignore[attr-defined]
        reads = 0

        def fill() -> bool:
            nonlocal reads
            reads += 1
            return reads < 10_000

        packets._fill = fill
        await packets.rest(0.001)
    assert reads < 100


async def test_a_consumer_that_rests_longer_than_the_keepalive_keeps_its_connection(
    real: mosquitto.Mosquitto,
) -> None:
    async with connected(real.port, "tx") as sender, connected(real.port, "rx", keepalive=1, queue=2) as slow:
        await slow.subscribe(ALL)
        for _ in range(20):
            await sender.publish("t/a", b"x")
        await anyio.sleep(4)  # the keepalive counts real seconds, at both ends
        for _ in range(20):
            slow.acknowledge(await slow.receive())
        assert await slow.publish("t/a", b"x") == 0


async def test_a_connection_attempt_that_is_given_up_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        connection = paho.dial(Options(client_id="rx", port=deaf.getsockname()[1]))
        with anyio.move_on_after(0.05) as scope:
            await connection.connect()
        assert scope.cancelled_caught
        await connection.close()
        accepted, _ = deaf.accept()
        with accepted:
            accepted.settimeout(5)
            while accepted.recv(4096):
                pass  # the CONNECT, then the end


@pytest.mark.parametrize("host", ["no-such-host.invalid", "." * 5, "a" * 300, "\ud800"])
async def test_a_host_that_cannot_be_found_is_a_lost_link(host: str) -> None:
    with pytest.raises(LinkLost) as caught:
        await paho.dial(Options(client_id="rx", host=host, port=1)).connect()
    assert caught.value.reason == "Unreachable"


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    with mosquitto.running("hub.conf", extra=f"listener 0 {path}"):
        await eventually(listens)
        async with connected(0, "tx", unix=str(path)) as connection:
            await connection.subscribe(ALL)
            await connection.publish("t/a", b"x")
            assert (await connection.receive()).payload == b"x"
