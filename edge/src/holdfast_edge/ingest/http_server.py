"""Devices push over HTTP: POST /v1/readings, or /v1/readings/TOPIC for a source with rules. 202 says: it is durable.

Bounded for strangers: connections, sizes, and the time a request may take to arrive.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

import anyio
import msgspec

from holdfast_edge.ingest.exchange import MAX_HEAD, Exchange, Keys, Reply
from holdfast_edge.ingest.intake import BATCH, Intake, Message
from holdfast_protocol.errors import TransientError
from holdfast_protocol.mapping.formats import Reader
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock

MAX_CONNECTIONS: Final = 100
MAX_HELD: Final = 8 * 1024 * 1024  # bytes of bodies that arrive, or are not committed yet
WITHIN: Final = 10.0  # seconds from the first byte of a request to its last
IDLE: Final = 60.0  # seconds a connection may say nothing
LINGER: Final = 1.0  # seconds for a refused sender to read why


async def run_http(
    address: str,
    port: int,
    intake: Intake,
    clock: Clock,
    *,
    keys: Keys,
    listed: Reader,
    plain: bool,
    tls: ssl.SSLContext | None = None,
    tell: Callable[[], None] = lambda: None,
) -> None:
    """Serve until cancelled. `plain`: the source has no rules, and readings name their device themselves.

    Raises TransientError `CannotListen`.
    """
    commits = _Commits(intake)
    exchange = Exchange(listed, keys, clock, plain=plain)
    loop, connections = asyncio.get_running_loop(), set[_Connection]()

    def accept() -> "_Connection":
        return _Connection(exchange, commits, connections)

    try:
        patience = WITHIN if tls else None
        server = await loop.create_server(accept, address, port, ssl=tls, ssl_handshake_timeout=patience, backlog=64)
    except OSError as error:
        raise TransientError(f"{address}:{port}: {error.strerror}", reason="CannotListen") from None
    try:
        tell()
        async with anyio.create_task_group() as group:
            group.start_soon(intake.run)
            group.start_soon(commits.run)
    finally:
        server.close()
        for connection in list(connections):
            connection.end()


class _Commits:
    """Requests that wait at the same time are committed together."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._waiting: list[tuple[Message, Callable[[Rejection | None], None]]] = []
        self._arrived = anyio.Event()
        self.held = 0  # bytes of bodies, of these and of requests that still arrive

    @property
    def is_full(self) -> bool:
        return self.held >= MAX_HELD or self._intake.state.phase == "waiting"

    def offer(self, message: Message, done: Callable[[Rejection | None], None]) -> None:
        self._waiting.append((message, done))
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._waiting[:BATCH]
            answers = await self._intake.take([message for message, _ in batch])
            del self._waiting[: len(batch)]
            self.held -= sum(len(message.payload) for message, _ in batch)
            if not self._waiting:
                self._arrived = anyio.Event()
            for (_, done), answer in zip(batch, answers, strict=True):
                done(answer)


class _Connection(asyncio.Protocol):
    """One request at a time: the next is read when the answer before it was written."""

    def __init__(self, exchange: Exchange, commits: _Commits, connections: "set[_Connection]") -> None:
        import httptools

        self._exchange = exchange
        self._commits = commits
        self._connections = connections
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False
        self._parsers: Callable[..., Any] = httptools.HttpRequestParser
        self._parser = self._parsers(self)
        self._failure: tuple[type[Exception], ...] = (httptools.HttpParserError,)
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head = 0  # bytes of it
        self._body = bytearray()
        self._begun = False
        self._busy = False
        self._keep = False
        self._refused: Reply | None = None

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if len(self._connections) >= MAX_CONNECTIONS:
            self._write(Reply(503, "Busy", "too many connections", retry=1), close=True)
            return
        self._connections.add(self)
        self._wait(IDLE)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._let_go()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ending or self._transport.is_closing():
            return
        if not self._begun:
            self._begun = True
            self._wait(WITHIN)
        try:
            self._parser.feed_data(data)
        except self._failure:
            if not self._ending:
                self._write(self._refused or Reply(400, "BadRequest", "not HTTP/1.1"), close=True)

    # called by the parser; what they raise ends the request

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._keep = self._parser.should_keep_alive()
        method = self._parser.get_method()
        self._refused = self._exchange.refusal(method, self._url, self._headers, full=self._commits.is_full)
        if self._refused is None and self._parser.should_upgrade():  # the parser would read no body
            self._refused = Reply(400, "Upgrade", "HTTP/1.1, and nothing else")
        if self._refused is not None:
            raise ValueError(self._refused.reason)
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        self._commits.held += len(body)
        if self._commits.held > MAX_HELD:
            self._refused = Reply(503, "Full", "too much arrives at once", retry=5)
            raise ValueError("full")
        if len(self._body) > self._exchange.limit:
            self._refused = Reply(413, "TooLarge", f"the limit is {self._exchange.limit} bytes")
            raise ValueError("too large")

    def on_message_complete(self) -> None:
        if self._busy:  # a second request before the answer to the first
            self._refused = Reply(400, "Pipelined", "one request at a time")
            raise ValueError("pipelined")
        self._busy = True
        self._transport.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
        message = self._exchange.message(self._url, self._headers, bytes(self._body))
        self._body = bytearray()  # held by who commits it now
        self._commits.offer(message, self._answer)

    def _let_go(self) -> None:
        self._commits.held -= len(self._body)
        self._body = bytearray()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            self._refused = Reply(431, "TooLarge", f"the limit is {MAX_HEAD} bytes of head")
            raise ValueError("head too large")

    def _answer(self, rejection: Rejection | None) -> None:
        if self._ending or self._transport.is_closing():
            return
        self._write(self._exchange.answer(rejection), close=not self._keep)
        if self._keep:
            self._begin()
            self._parser = self._parsers(self)
            self._wait(IDLE)
            self._transport.resume_reading()

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def _write(self, reply: Reply, *, close: bool) -> None:
        body = msgspec.json.encode(reply.body())
        lines = [
            f"HTTP/1.1 {reply.status} {reply.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"Retry-After: {reply.retry}"] if reply.retry else []),
            *(['WWW-Authenticate: Basic realm="holdfast"'] if reply.status == 401 else []),
            *(["Connection: close"] if close else []),
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        if close:
            self._ending = True
            self._let_go()
            self._wait(LINGER)
            if self._transport.can_write_eof():
                self._transport.write_eof()  # closed over unread bytes, the answer would be lost with them
            else:
                self._transport.close()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()
