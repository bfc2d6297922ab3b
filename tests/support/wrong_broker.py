"""Something that takes a CONNECT and then says what a broker should not, and a connection to it."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc

from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Connection, Options, Subscription

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
