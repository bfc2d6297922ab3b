"""A TCP proxy that is a bad network: latency, a limited rate, loss, cuts; and a meter.

Loss is what TCP makes of it: a packet that is lost is sent again after a wait that doubles, everything behind it waits, and
a connection that loses too many in a row is given up.

async with proxy.running("127.0.0.1", broker_port) as line:
    line.latency_s = 0.05
    ... connect to line.port ...
    line.cut()
"""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal

_READ_BYTES = 65536
_PACKET = 1400  # bytes
_GIVE_UP = 15  # losses in a row, as Linux does
_QUEUED_READS = 64  # on the way in one direction; a full queue stops reading, as a full line would


@dataclass
class Proxy:
    """A line to one server. Change the settings at any time; they hold from the next bytes on."""

    host: str
    to_port: int
    port: int = 0
    latency_s: float = 0.0  # one way
    bytes_per_s: float = 0.0  # each way and connection; 0: no limit
    loss: float = 0.0  # the chance of each packet to be lost, each time it is sent
    retry_s: float = 0.2  # from a loss until it is sent again; twice as much after the next
    chance: random.Random = field(default_factory=random.Random)
    bytes_up: int = 0  # to the server, handed over
    bytes_down: int = 0
    connections: int = 0  # taken so far
    _open: anyio.Event = field(default_factory=anyio.Event)
    _scopes: set[anyio.CancelScope] = field(default_factory=set)
    _refusing: bool = False

    def cut(self) -> None:
        """Go silent: bytes stay where they are, no side is told. `restore` lets them go on."""
        self._open = anyio.Event()

    def reset(self) -> None:
        """Close every connection, and from now on each new one at once, until `restore`."""
        self._refusing = True
        for scope in self._scopes:
            scope.cancel()

    def restore(self) -> None:
        self._refusing = False
        self._open.set()

    async def _serve(self, client: SocketStream) -> None:
        if self._refusing:
            await client.aclose()
            return
        self.connections += 1
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with (
                    client,
                    await anyio.connect_tcp(self.host, self.to_port) as server,
                    anyio.create_task_group() as both,
                ):
                    both.start_soon(self._carry, client, server, True, both.cancel_scope)
                    both.start_soon(self._carry, server, client, False, both.cancel_scope)
            except OSError:  # the server is not there: the client sees a closed connection
                return
            finally:
                self._scopes.discard(scope)

    async def _carry(self, source: SocketStream, sink: SocketStream, up: bool, scope: anyio.CancelScope) -> None:
        """Carry bytes one way until either end closes, then end the connection."""
        entry, exit_ = anyio.create_memory_object_stream[tuple[float, bytes]](_QUEUED_READS)
        async with anyio.create_task_group() as group:
            group.start_soon(self._read, source, entry)
            async with exit_:
                async for due, content in exit_:
                    await anyio.sleep(max(0.0, due - anyio.current_time()))
                    await self._open.wait()
                    if not await self._passes(content):
                        break
                    try:
                        await sink.send(content)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        break
                    if up:
                        self.bytes_up += len(content)
                    else:
                        self.bytes_down += len(content)
            scope.cancel()

    async def _passes(self, content: bytes) -> bool:
        """Wait as long as the losses on the way take; return False when they end the connection."""
        for _ in range(0, len(content), _PACKET):
            lost = 0
            while self.chance.random() < self.loss:
                if lost == _GIVE_UP:
                    return False
                await anyio.sleep(self.retry_s * 2 ** min(lost, 4))
                lost += 1
        return True

    async def _read(self, source: SocketStream, entry: anyio.abc.ObjectSendStream[tuple[float, bytes]]) -> None:
        async with entry:
            while True:
                limit = self.bytes_per_s
                try:
                    content = await source.receive(min(_READ_BYTES, int(limit / 10) or 1) if limit else _READ_BYTES)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
                await entry.send((anyio.current_time() + self.latency_s, content))
                if limit:
                    await anyio.sleep(len(content) / limit)


@asynccontextmanager
async def running(host: str, to_port: int, *, listen: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy to `host:to_port`, by default on a free port of the loopback; its connections end with it."""
    listener = await anyio.create_tcp_listener(local_host=listen, local_port=port)
    line = Proxy(host, to_port, port=listener.extra(SocketAttribute.local_port))
    line.restore()
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, line._serve)
        yield line
        group.cancel_scope.cancel()


@contextmanager
def beside(host: str, to_port: int) -> Iterator[Proxy]:
    """Run a proxy in a thread of its own, for a test that has no event loop."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(host, to_port)) as line:
        yield line
