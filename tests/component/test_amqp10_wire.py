"""AMQP 1.0 over a socket, the broker's side written by hand: signs of life, nonsense, and a cut before anything is settled."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from holdfast_edge.core.amqp10.performatives import SASL, framed, made
from holdfast_edge.core.amqp10.receiver import HEADER, SASL_HEADER, Terms
from holdfast_edge.core.amqp10.types import described, encoded
from holdfast_edge.ingest.amqp10 import Feed10, run_amqp10
from holdfast_edge.ingest.intake import Intake
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.runtime.link import LinkState
from support.clock import Running, eventually
from support.devices import stored_readings
from support.sources import Hasty
from support.streams import open_outbox

pytestmark = pytest.mark.anyio
ALIVE = framed(b"")
Broker = Callable[[SocketStream], Awaitable[None]]


def opening(idle: int = 0) -> bytes:
    """Return all that a broker says until the link is there; `idle` in milliseconds."""
    said = [
        made("open", container_id="broker", idle_time_out=idle or None),
        made("begin", remote_channel=0, next_outgoing_id=0, incoming_window=9, outgoing_window=9),
        made("attach", name="holdfast", handle=0, role=False, source=made("source"), initial_delivery_count=0),
    ]
    mechanisms = framed(made("sasl-mechanisms", sasl_server_mechanisms=("ANONYMOUS",)), SASL)
    login = SASL_HEADER + mechanisms + framed(made("sasl-outcome", code=0), SASL) + HEADER
    return login + b"".join(map(framed, said))


def message(ident: str, value: int, *, again: int = 0) -> bytes:
    header = described(0x70, [b"\x40", b"\x40", b"\x40", b"\x40", encoded("uint", again)])
    properties = described(0x73, [encoded("string", ident), b"\x40", b"\x40", encoded("string", "plant/press/count")])
    body = b"\x00\x53\x75" + encoded("binary", b"%d" % value)
    return framed(
        made("transfer", handle=0, delivery_id=0, delivery_tag=struct.pack(">I", 0)) + header + properties + body
    )


@asynccontextmanager
async def source(outbox: Outbox, *brokers: Broker) -> AsyncIterator[list[LinkState]]:
    """Run a source of brokers that serve one connection each, the last of them all that follow."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    left, states = list(brokers), list[LinkState]()

    async def serve(stream: SocketStream) -> None:
        broker = left.pop(0) if len(left) > 1 else left[0]
        async with stream:
            await broker(stream)

    async def loop() -> None:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        intake = Intake("source/amqp", plain(("plant/#",)), outbox, Hasty())
        await run_amqp10(Feed10("127.0.0.1", port, Terms("t", "h", "q")), intake, Hasty(), on_state=states.append)

    async with listener, Running(loop, lambda: listener.serve(serve)):
        yield states


async def listening(stream: SocketStream) -> None:
    await stream.send(opening())
    async for _ in stream:
        pass


async def test_a_broker_that_wants_signs_of_life_has_them(tmp_path: Path) -> None:
    outbox, heard = open_outbox(tmp_path), bytearray()

    async def broker(stream: SocketStream) -> None:
        await stream.send(opening(idle=300))
        async for data in stream:
            heard.extend(data)

    async with source(outbox, broker):
        await eventually(lambda: bytes(heard).endswith(ALIVE * 3))
    outbox.close()


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", opening() + b"\xff" * 20], ids=["another", "odd"]
)
async def test_nonsense_ends_a_connection_and_the_next_is_tried(tmp_path: Path, said: bytes) -> None:
    outbox = open_outbox(tmp_path)

    async def broker(stream: SocketStream) -> None:
        await stream.send(said)
        async for _ in stream:
            pass

    async with source(outbox, broker, listening) as states:
        await eventually(lambda: [state.doing for state in states][-1:] == ["settled"] and len(states) > 2)
    assert "AMQP 1.0" in next(state.message for state in states if state.doing == "waiting")
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_what_came_before_a_cut_is_stored_and_when_it_comes_again_not_twice(tmp_path: Path) -> None:
    outbox, heard = open_outbox(tmp_path), bytearray()

    async def dying(stream: SocketStream) -> None:
        await stream.send(opening() + message("a", 1))

    async def alive(stream: SocketStream) -> None:
        await stream.send(opening() + message("a", 1, again=1) + message("b", 2))
        async for data in stream:
            heard.extend(data)

    accepted = made("accepted")
    async with source(outbox, dying, alive):
        await eventually(lambda: heard.count(accepted) == 2)
    assert [reading.value for reading in await stored_readings(outbox)] == [1, 2]
    outbox.close()
