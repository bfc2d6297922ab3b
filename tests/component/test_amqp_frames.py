"""What an AMQP 0-9-1 broker sends is cut to what can be a reading, and not read while too much of it is held."""

import asyncio
import struct

import anyio
import pytest

from holdfast_edge.ingest import amqp_frames
from holdfast_edge.ingest.amqp_frames import CUT, LARGEST, Frames, Room
from support.clock import Running, eventually

pytestmark = pytest.mark.anyio
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


def frame(kind: int, content: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(content)) + content + b"\xce"


def message(body: bytes, channel: int = 1, most: int = 100_000, said: int = -1) -> bytes:
    """Return a delivery, its body in frames of so many bytes."""
    size = len(body) if said < 0 else said
    header = struct.pack(">HHQH", 60, 0, size, 0x8000) + b"\x0atext/plain"
    bodies = [frame(3, body[at : at + most], channel) for at in range(0, len(body), most)]
    return b"".join([frame(1, b"deliver", channel), frame(2, header, channel), *bodies])


def reader(data: bytes, *, ends: bool = True) -> asyncio.StreamReader:
    found = asyncio.StreamReader()
    found.feed_data(data)
    if ends:
        found.feed_eof()
    return found


async def whole(frames: Frames) -> bytes:
    """Return all there is, read as the library reads it."""
    found = b""
    while not frames.at_eof():
        head = await frames.readexactly(1) + await frames.readexactly(6)
        found += head + await frames.readexactly(struct.unpack(">I", head[3:])[0] + 1)
    return found


@pytest.mark.parametrize("size", [0, 1, 4096, CUT])
async def test_what_can_be_a_reading_goes_on_as_it_came(size: int) -> None:
    said = HEARTBEAT + message(bytes(size), most=999) + message(b"x", 2) + HEARTBEAT
    assert await whole(Frames(reader(said), Room())) == said


async def test_a_body_is_cut_in_whichever_frames_it_comes_and_the_next_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut = bytes(3 * CUT)
    for most in (CUT - 1, CUT, CUT + 1, 10 * CUT):
        for at_once in (64 * 1024, 1021):
            monkeypatch.setattr(amqp_frames, "AT_ONCE", at_once)
            said = message(cut, most=most) + message(b"after")
            found = await whole(Frames(reader(said), Room()))
            assert found.endswith(message(b"after"))
            first = found.removesuffix(message(b"after"))
            assert first.startswith(message(b"", said=CUT))
            assert first.count(b"\0" * 1000) <= CUT // 1000
            assert len(first) < CUT + 200


async def test_bodies_on_two_channels_at_once_are_cut_apart() -> None:
    large, small = message(bytes(2 * CUT), 1, CUT), message(b"small", 2)
    head = len(large) - (CUT + 8)
    found = await whole(Frames(reader(large[:head] + small + large[head:] + HEARTBEAT), Room()))
    assert found.endswith(small + HEARTBEAT)
    assert len(found) < CUT + 300


async def test_nothing_more_is_read_while_too_much_is_held_and_the_library_hears_that_the_broker_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(amqp_frames, "PATIENCE", 0.001)
    monkeypatch.setattr(amqp_frames, "AT_ONCE", 100)
    one, room, found = message(bytes(100)), Room(250), b""
    source = reader(100 * one, ends=False)
    frames = Frames(source, room)

    async def read() -> None:
        nonlocal found
        while True:
            head = await frames.readexactly(7)
            found += head + await frames.readexactly(struct.unpack(">I", head[3:])[0] + 1)

    def messages() -> int:
        return found.count(b"deliver")

    async with Running(read):
        await eventually(lambda: found.count(HEARTBEAT) >= 3)
        assert 3 <= messages() <= 4
        room.give(200)
        await eventually(lambda: messages() >= 5)
        room.leave()
        await eventually(lambda: messages() == 100)
    assert len(found.replace(HEARTBEAT, b"")) < 10 * len(one) + 100 * len(message(b""))


@pytest.mark.parametrize("said", [frame(1, bytes(LARGEST + 1)), frame(2, bytes(LARGEST + 1))])
async def test_a_frame_that_is_no_body_and_too_large_ends_the_connection(said: bytes) -> None:
    with pytest.raises(ConnectionError):
        await whole(Frames(reader(said), Room()))


async def test_the_answer_to_a_version_a_broker_does_not_speak_is_handed_on() -> None:
    assert await Frames(reader(b"AMQP\0\0\x09\x01"), Room()).readexactly(8) == b"AMQP\0\0\x09\x01"


@pytest.mark.parametrize("cut", [1, 7, 20, 60])
async def test_an_end_within_a_frame_is_one(cut: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await whole(Frames(reader(message(b"x" * 50)[:cut]), Room()))


async def test_a_header_that_is_none_goes_on_for_the_library_to_judge() -> None:
    said = frame(2, b"\0\x3c") + message(b"x")
    assert await whole(Frames(reader(said), Room())) == said
    with anyio.fail_after(60):
        assert await Room(1).wait(1)
