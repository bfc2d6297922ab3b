"""The driver on its own: what it does about brokers that are slow, wrong or hostile."""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime import answers, paho
from holdfast_protocol.runtime.mqtt import Connection, Options, Subscription
from support import mosquitto
from support.clock import eventually

pytestmark = pytest.mark.anyio
ALL = [Subscription("t/#")]
ACCEPTED = bytes.fromhex("2003000000")  # CONNACK, no session, success, no properties
Serve = Callable[[anyio.abc.ByteStream], Awaitable[None]]


@asynccontextmanager
async def connected(port: int, client_id: str, **options: Any) -> AsyncIterator[Connection]:
    connection = paho.dial(Options(client_id=client_id, port=port, **options))
    try:
        await connection.connect()
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def wrong_broker(serve: Serve) -> AsyncIterator[int]:
    """Yield the port of something that reads a CONNECT and then does what it wants."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await serve(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


def sends(*packets: bytes) -> Serve:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        for packet in packets:
            await stream.send(packet)
        await anyio.sleep_forever()

    return serve


def publish_packet(flags: int, topic: bytes, payload: bytes, mid: int = 1) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if flags & 6 else b"") + b"\0" + payload
    assert len(body) < 128
    return bytes([0x30 | flags, len(body)]) + body


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
            with anyio.fail_after(20):
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
    with anyio.fail_after(30):
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


async def test_a_broker_that_does_not_close_is_not_believed_to_have_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paho, "LEAVE_WITHIN", 0.1)
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "rx") as connection:
        assert not await connection.leave()
        with pytest.raises(LinkLost) as caught:
            await connection.receive()
        assert caught.value.reason == "Closed"


async def test_a_broker_that_ends_with_unread_bytes_is_not_believed_to_have_read() -> None:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED + publish_packet(2, b"t/a", b"x", 1))  # and closes without reading: a reset

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        with suppress(LinkLost):  # it may be noticed even before
            assert not await connection.leave()


async def test_no_more_publishes_are_on_their_way_than_the_broker_granted() -> None:
    unanswered: list[int] = []
    most = 0

    async def serve(stream: anyio.abc.ByteStream) -> None:
        nonlocal most
        await stream.send(bytes.fromhex("2006000003210003"))
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
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(connection.publish, "t/a", b"x")
    assert most == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (bytes.fromhex("2003008700"), "Refused"),  # not authorised
        (bytes.fromhex("20020005"), "Refused"),  # the same in MQTT 3.1.1
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Unreachable"),
        (bytes.fromhex("2003000022"), "Malformed|Lost"),  # properties cut short
        (b"\x20\xff\xff\xff\xff\xff", "Malformed|Lost"),
        (b"", "Unreachable"),
    ],
)
async def test_a_broker_that_answers_wrongly_is_a_lost_link(
    answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paho, "CONNECT_WITHIN", 0.3)
    version = 4 if answer == bytes.fromhex("20020005") else 5
    async with wrong_broker(sends(answer)) as port:
        with pytest.raises(LinkLost) as caught:
            async with connected(port, "rx", version=version):
                pass
    assert caught.value.reason in reason.split("|")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes.fromhex("e0028e00"), "TakenOver"),
        (bytes.fromhex("e0029700"), "Lost"),  # quota exceeded
        (bytes.fromhex("e000"), "Lost"),
        (b"\x32\xff\xff\xff\x7f", "Malformed"),  # a packet of 256 MiB begins
        (publish_packet(4, b"t/a", b"x"), "Malformed"),  # QoS 2
        (publish_packet(6, b"t/a", b"x"), "Malformed|Lost"),  # QoS 3
        (b"\x32\x05\xff\xff\0\0\0", "Malformed|Lost"),  # a topic longer than its packet
        (b"\x00\x00", "Malformed|Lost"),
        (bytes(range(256)), "Malformed|Lost"),
    ],
)
async def test_what_is_not_mqtt_or_over_our_limits_ends_the_connection_and_nothing_else(
    packet: bytes, reason: str
) -> None:
    async with wrong_broker(sends(ACCEPTED, packet)) as port:
        with pytest.raises(LinkLost) as caught, anyio.fail_after(10):
            async with connected(port, "rx", max_packet=1000) as connection:
                await connection.receive()
    assert caught.value.reason in reason.split("|"), caught.value.message


async def test_a_topic_that_is_not_text_still_reaches_somebody_who_can_acknowledge_it() -> None:
    serve = sends(ACCEPTED, publish_packet(2, b"t/\xff", b"x", 7))
    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        delivery = await connection.receive()
        assert (delivery.topic, delivery.mid) == ("t/\ufffd", 7)


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.parametrize("size", [1, 200_000])
async def test_properties_that_others_find_odd_cost_a_message_nothing(size: int) -> None:
    text = "\ufeffx\0".encode()
    pair = b"\x26" + len(text).to_bytes(2, "big") + text + b"\0\x01v"
    body = b"\0\x03t/a\0\x07" + bytes([len(pair)]) + pair + b"x" * size
    length, left = b"", len(body)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    serve = sends(ACCEPTED, b"\x32" + length + bytes([left]) + body)
    for asked in (True, False):
        async with wrong_broker(serve) as port, connected(port, "rx", with_properties=asked) as connection:
            delivery = await connection.receive()
            assert (len(delivery.payload), delivery.mid) == (size, 7)
            assert delivery.properties == ((("\ufeffx\0", "v"),) if asked else ())


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


async def test_a_broker_that_lives_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_WITHIN", 0.1)
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "tx") as connection:
        with pytest.raises(LinkLost) as caught, anyio.fail_after(10):
            await connection.publish("t/a", b"x")
        assert caught.value.reason == "Timeout"


async def test_what_waits_for_an_answer_or_a_place_is_told_that_the_link_is_lost() -> None:
    told: list[str] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(bytes.fromhex("2006000003210001"))  # one publish at a time
        await stream.receive()
        await eventually(lambda: waiting)

    waiting: list[bool] = []
    async with wrong_broker(serve) as port, connected(port, "tx") as connection:

        async def asks(name: str, ask: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(LinkLost):
                await ask()
            told.append(name)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(asks, "answer", lambda: connection.publish("t/a", b"1"))
                group.start_soon(asks, "place", lambda: connection.publish("t/a", b"2"))
                group.start_soon(asks, "subscription", lambda: connection.subscribe(ALL))
                group.start_soon(asks, "delivery", connection.receive)
                await anyio.wait_all_tasks_blocked()
                waiting.append(True)
    assert sorted(told) == ["answer", "delivery", "place", "subscription"]


async def test_a_publish_the_broker_refuses_says_so() -> None:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED)
        await stream.receive()
        await stream.send(bytes.fromhex("40030001") + b"\x87")

    async with wrong_broker(serve) as port, connected(port, "tx") as connection:
        with pytest.raises(LinkLost) as caught:
            await connection.publish("t/a", b"x")
        assert caught.value.reason == "Refused"


async def test_a_subscription_granted_less_than_asked_is_refused() -> None:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED)
        await stream.receive()
        await stream.send(bytes.fromhex("90040001") + b"\0\0")  # QoS 0, where 1 was asked for

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        with pytest.raises(LinkLost) as caught:
            await connection.subscribe(ALL)
        assert caught.value.reason == "Refused"


async def test_a_silent_network_is_noticed_within_twice_the_keepalive() -> None:
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "rx", keepalive=1) as connection:
        with pytest.raises(LinkLost) as caught, anyio.fail_after(5):
            await connection.receive()
        assert caught.value.reason == "Lost"


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
