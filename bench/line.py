"""A line between two brokers, or an agent and a broker: a TCP proxy that is cut and joined, delays, is narrow, and counts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Self

BULK: Final = 16 * 1024  # bytes up on one connection: more than a greeting, so the backlog is flowing
CHUNK: Final = 256 * 1024  # bytes read at once
NARROW_CHUNK: Final = 4 * 1024  # the same where bytes take their time
HELD: Final = 32 * 1024  # bytes a narrow line holds before it takes more


class Kind(NamedTuple):
    """`delay` is one way, in seconds; `rate` in bytes a second each way, 0.0 for no bound."""

    delay: float = 0.0
    rate: float = 0.0


PLAIN: Final = Kind()


class Line:
    """`bytes_up` counts what went to the far end, `refused` attempts while cut; `connected` is when the first connection
    was made after joining, `flowing` when the backlog began to flow (0.0: not yet)."""

    def __init__(self, to_port: int, kind: Kind) -> None:
        self.port = 0
        self.bytes_up = 0
        self.connected = 0.0
        self.flowing = 0.0
        self.refused = 0
        self._to_port = to_port
        self._kind = kind
        self._joined = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._free = {True: 0.0, False: 0.0}  # when the line has sent what it holds, up and down

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, to_port: int, kind: Kind = PLAIN) -> AsyncIterator[Self]:
        """Yield a line to a port of this machine, cut."""
        line = cls(to_port, kind)
        server = await asyncio.start_server(line._serve, "127.0.0.1", 0)
        line.port = server.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            line.cut()
            server.close()
            await asyncio.sleep(
                0.1 + 2 * kind.delay + (HELD / kind.rate if kind.rate else 0)
            )  # the carriers see their end

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self._joined = False
        for writer in self._writers:
            writer.close()

    def join(self) -> float:
        """Let connections through and count from zero; return when that was."""
        self._joined, self.bytes_up, self.flowing, self.connected = True, 0, 0.0, 0.0
        return time.perf_counter()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._joined:
            self.refused += 1
            writer.close()
            return
        self.connected = self.connected or time.perf_counter()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer, up=True), self._carry(far_reader, writer, up=False))
        self._writers -= {writer, far_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        carried = 0
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        carrier = asyncio.create_task(self._deliver(queue, writer))
        with contextlib.suppress(OSError):
            while content := await reader.read(NARROW_CHUNK if self._kind.rate else CHUNK):
                carried += len(content)
                if up:
                    self.bytes_up += len(content)
                    if carried > BULK and not self.flowing:
                        self.flowing = time.perf_counter()
                if self._kind == PLAIN:
                    writer.write(content)
                    await writer.drain()
                else:
                    queue.put_nowait((await self._due(len(content), up), content))
        queue.put_nowait((0.0, b""))
        await carrier

    async def _due(self, size: int, up: bool) -> float:
        """Return when so many bytes are at the other end; waits while a narrow line holds too much."""
        now = time.perf_counter()
        if self._kind.rate:
            self._free[up] = max(self._free[up], now) + size / self._kind.rate
            await asyncio.sleep(self._free[up] - now - HELD / self._kind.rate)
            return self._free[up] + self._kind.delay
        return now + self._kind.delay

    async def _deliver(self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, content = await queue.get()
                if not content:
                    break
                await asyncio.sleep(due - time.perf_counter())
                writer.write(content)
                await writer.drain()
        writer.close()
