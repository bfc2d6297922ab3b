"""A line between two brokers, or an agent and a broker: a TCP proxy that is cut and joined, and counts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, Self

BULK: Final = 16 * 1024  # bytes up on one connection: more than a greeting, so the backlog is flowing


class Line:
    """`bytes_up` counts what went to the far end, `refused` attempts while cut; `flowing` is when the backlog began to
    flow (0.0: not yet)."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.bytes_up = 0
        self.flowing = 0.0
        self.refused = 0
        self._to_port = to_port
        self._joined = False
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, to_port: int) -> AsyncIterator[Self]:
        """Yield a line to a port of this machine, cut."""
        line = cls(to_port)
        server = await asyncio.start_server(line._serve, "127.0.0.1", 0)
        line.port = server.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            line.cut()
            server.close()
            await asyncio.sleep(0.05)  # the carriers see their end

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self._joined = False
        for writer in self._writers:
            writer.close()

    def join(self) -> float:
        """Let connections through and count from zero; return when that was."""
        self._joined, self.bytes_up, self.flowing = True, 0, 0.0
        return time.perf_counter()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._joined:
            self.refused += 1
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer, up=True), self._carry(far_reader, writer, up=False))
        self._writers -= {writer, far_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while content := await reader.read(256 * 1024):
                carried += len(content)
                if up:
                    self.bytes_up += len(content)
                    if carried > BULK and not self.flowing:
                        self.flowing = time.perf_counter()
                writer.write(content)
                await writer.drain()
        writer.close()
