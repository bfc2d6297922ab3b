"""The driver against brokers that answer wrongly, late or not at all: a lost link, and nothing else."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.abc
import pytest

from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime import answers, paho
from support.clock import eventually
from support.waiting import HANGS_S
from support.wrong_broker import ACCEPTED, ALL, connected, publish_packet, sends, wrong_broker

pytestmark = pytest.mark.anyio


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


async def test_a_wrong_answer_to_a_subscription_ends_the_connection_for_who_receives_too() -> None:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        await stream.send(ACCEPTED)
        request = await stream.receive()
        await stream.send(b"\x90\x05" + request[2:4] + b"\0\1\1")  # two answers to one
        await anyio.sleep_forever()

    async with wrong_broker(serve) as port, connected(port, "rx") as connection:
        with pytest.raises(LinkLost) as caught:
            await connection.subscribe(ALL, beside=True)
        assert caught.value.reason == "Malformed"
        with anyio.fail_after(HANGS_S), pytest.raises(LinkLost):
            await connection.receive()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (bytes.fromhex("2003008700"), "Refused"),  # not authorised
        (bytes.fromhex("20020005"), "Refused"),  # the same in MQTT 3.1.1
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Unreachable"),
        (bytes.fromhex("2003000022"), "Malformed|Lost"),  # properties cut short
        (bytes.fromhex("2006000003210000"), "Malformed|Lost"),  # no publish at all may be on its way
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
        with pytest.raises(LinkLost) as caught, anyio.fail_after(HANGS_S):
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


async def test_a_broker_that_lives_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_WITHIN", 0.1)
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "tx") as connection:
        with pytest.raises(LinkLost) as caught, anyio.fail_after(HANGS_S):
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

        with anyio.fail_after(HANGS_S):
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


async def test_a_silent_network_is_noticed_by_the_keepalive() -> None:
    async with wrong_broker(sends(ACCEPTED)) as port, connected(port, "rx", keepalive=1) as connection:
        with pytest.raises(LinkLost) as caught, anyio.fail_after(HANGS_S):
            await connection.receive()
        assert caught.value.reason == "Lost"
