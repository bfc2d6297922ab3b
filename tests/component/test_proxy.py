"""The lab's bad network does what the tests that use it believe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from support import proxy

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def an_echo_server() -> AsyncIterator[int]:
    async def echo(stream: SocketStream) -> None:
        async with stream:
            try:
                async for content in stream:
                    await stream.send(content)
            except anyio.BrokenResourceError:
                return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def exactly(stream: SocketStream, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += await stream.receive(count - len(got))
    return got


async def test_bytes_pass_both_ways_and_are_counted() -> None:
    async with an_echo_server() as server, proxy.running("127.0.0.1", server) as line:
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            await stream.send(b"x" * 100_000)
            assert await exactly(stream, 100_000) == b"x" * 100_000
        assert (line.bytes_up, line.bytes_down, line.connections) == (100_000, 100_000, 1)


async def test_latency_delays_each_way_and_does_not_limit_the_rate() -> None:
    async with an_echo_server() as server, proxy.running("127.0.0.1", server) as line:
        line.latency_s = 0.05
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            began = anyio.current_time()
            await stream.send(b"x" * 1_000_000)
            await exactly(stream, 1_000_000)
            assert 0.1 <= anyio.current_time() - began < 1.0


async def test_a_limit_holds_the_rate() -> None:
    async with an_echo_server() as server, proxy.running("127.0.0.1", server) as line:
        line.bytes_per_s = 100_000
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            began = anyio.current_time()
            await stream.send(b"x" * 30_000)
            await exactly(stream, 30_000)
            assert anyio.current_time() - began >= 0.19  # the last tenth of a second's worth is not waited for


async def test_a_cut_line_is_silent_and_goes_on_where_it_was() -> None:
    async with (
        an_echo_server() as server,
        proxy.running("127.0.0.1", server) as line,
        await anyio.connect_tcp("127.0.0.1", line.port) as stream,
    ):
        line.cut()
        await stream.send(b"lost?")
        with anyio.move_on_after(0.1) as silence:
            await stream.receive()
        assert silence.cancelled_caught
        line.restore()
        assert await exactly(stream, 5) == b"lost?"


async def test_a_reset_line_closes_its_connections_and_refuses_new_ones() -> None:
    async with an_echo_server() as server, proxy.running("127.0.0.1", server) as line:
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            await stream.send(b"there")
            await exactly(stream, 5)
            line.reset()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        line.restore()
        async with await anyio.connect_tcp("127.0.0.1", line.port) as stream:
            await stream.send(b"again")
            assert await exactly(stream, 5) == b"again"
