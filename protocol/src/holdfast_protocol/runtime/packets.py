"""The socket under an MQTT client: many packets move in one system call, and none over the limit is taken in."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

import anyio

from holdfast_protocol.runtime.mqtt import Options

CONNECT_WITHIN: Final = 10.0  # seconds, shared by the addresses of a name
CHUNK: Final = 64 * 1024  # bytes read at once
AT_ONCE: Final = 64  # reads before others have their turn
UNSENT: Final = 256 * 1024  # bytes held here before the writer must wait
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


async def open_socket(options: Options) -> socket.socket:
    """Return a connected non-blocking socket; raises OSError (TimeoutError is one) or UnicodeError (a host that is no name)."""
    loop = asyncio.get_running_loop()
    addresses: list[tuple[int, int, object]]
    if options.unix:
        addresses = [(socket.AF_UNIX, 0, options.unix)]
    else:
        found = await loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
        addresses = [(family, kind, address) for family, _, kind, _, address in found]
    problem: OSError = ConnectionError(f"{options.host} has no address")
    for family, kind, address in addresses:
        raw = socket.socket(family, socket.SOCK_STREAM, kind)
        try:
            raw.setblocking(False)
            if family != socket.AF_UNIX:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with anyio.fail_after(CONNECT_WITHIN / len(addresses)):
                await loop.sock_connect(raw, address)  # type: ignore[arg-type]  # a path is an address too
        except OSError as error:
            raw.close()
            problem = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw if options.tls is None else await _secured(raw, options.tls, options)
    raise problem


async def _secured(raw: socket.socket, tls: ssl.SSLContext, options: Options) -> socket.socket:
    """Return the socket after a TLS handshake; raises OSError (ssl.SSLError is one)."""
    loop = asyncio.get_running_loop()
    secured = tls.wrap_socket(raw, server_hostname=options.server_name or options.host, do_handshake_on_connect=False)
    try:
        while True:
            turn = loop.create_future()
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                loop.add_reader(secured, _wake, turn)
            except ssl.SSLWantWriteError:
                loop.add_writer(secured, _wake, turn)
            else:
                return secured
            try:
                await turn
            finally:
                loop.remove_reader(secured)
                loop.remove_writer(secured)
    except BaseException:
        secured.close()
        raise


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


class PacketSocket:
    """What an MQTT client library sees as its socket (recv, send, close, fileno, setblocking).

    `recv` gives only what `_fill` has read, so reading can stop in the middle of anything without a byte lost.
    """

    def __init__(
        self, raw: socket.socket, loop: asyncio.AbstractEventLoop, *, limit: int, on_readable: Callable[[], None]
    ) -> None:
        """`limit` is the largest packet in bytes; `on_readable` shall call `recv` while `readable`."""
        self._raw = raw
        self._loop = loop
        self._limit = limit
        self._on_readable = on_readable
        self._incoming = b""
        self._at = 0  # of the first byte in `_incoming` that was not given out
        self._ended: OSError | None = None  # what `recv` raises once `_incoming` is used up
        self._outgoing = bytearray()
        self._writer = False
        self.paused = True
        self.closed = False
        self.problem = ""  # why a packet was refused; "" while none was

    @property
    def readable(self) -> bool:
        return not (self.paused or self.closed) and (self._at < len(self._incoming) or self._ended is not None)

    @property
    def unsent(self) -> int:
        return len(self._outgoing)

    def resume(self) -> None:
        if self.paused and not self.closed:
            self.paused = False
            self._loop.add_reader(self._raw, self._fill)
            if self.readable:
                self._loop.call_soon(self._on_readable)
            elif self._holds_more():
                self._loop.call_soon(self._fill)

    def pause(self) -> None:
        if not (self.paused or self.closed):
            self.paused = True
            self._loop.remove_reader(self._raw)

    async def rest(self, seconds: float) -> None:
        """Let bytes gather unread, then read what there is: ten packets cost little more than one."""
        if self.paused or self.closed:
            return
        self._loop.remove_reader(self._raw)
        try:
            await asyncio.sleep(seconds)
        finally:
            if not (self.paused or self.closed):
                self._loop.add_reader(self._raw, self._fill)
        for _ in range(AT_ONCE):
            if not self._fill():
                break

    def _holds_more(self) -> bool:
        """Whether TLS has bytes that are read from the system already: no event will tell of them."""
        return isinstance(self._raw, ssl.SSLSocket) and not self.closed and self._raw.pending() > 0

    def _fill(self) -> bool:
        """Read once; return whether there may be more to read now."""
        if self.paused or self.closed:
            return False
        chunk = b""
        try:
            chunk = self._raw.recv(CHUNK)
        except _NOT_NOW:
            return False
        except OSError as error:
            self._ended = error
        else:
            if not chunk:
                self._ended = ConnectionResetError("closed by the broker")
            self._incoming = self._incoming[self._at :] + chunk
            self._at = 0
        self._on_readable()
        if self._ended is None and self._holds_more():
            self._loop.call_soon(self._fill)
        return len(chunk) == CHUNK or self._holds_more()

    async def read_out(self) -> bool:
        """Discard what comes until the peer closes; return whether it did so in order, having read all we wrote."""
        self.pause()
        while not self.closed:
            turn = self._loop.create_future()
            self._loop.add_reader(self._raw, _wake, turn)
            try:
                if not self._raw.recv(CHUNK):
                    return True
                continue
            except _NOT_NOW:
                await turn
            except OSError:
                return False
            finally:
                self._loop.remove_reader(self._raw)
        return False

    def recv(self, size: int) -> bytes:
        if size > self._limit:  # asked for the rest of a packet, before any of it is held
            self.problem = f"a packet of {size} bytes, the limit is {self._limit}"
            raise ConnectionAbortedError(self.problem)
        if self.paused or self.closed:
            raise BlockingIOError
        chunk = self._incoming[self._at : self._at + size]
        if chunk:
            self._at += len(chunk)
            return chunk
        raise self._ended or BlockingIOError

    def take(self, taker: Callable[[bytes, int], int]) -> None:
        """Let `taker` (bytes read, where those not given out begin) take whole packets; it returns where it stopped.

        None over the limit is ever whole here while the buffer is smaller than that, and `recv` refuses the rest."""
        if not (self.paused or self.closed) and self._at < len(self._incoming):
            self._at = taker(self._incoming, self._at)

    def append(self, packet: bytes) -> None:
        """Write a small whole packet, whatever waits already."""
        if not self.closed:
            self._outgoing += packet

    def send(self, data: bytes | bytearray) -> int:
        if self.closed:
            raise ConnectionAbortedError("closed here")
        if len(self._outgoing) >= UNSENT:
            raise BlockingIOError
        self._outgoing += data
        return len(data)

    def flush(self) -> None:
        """Write what can be written now. A broken connection shows at the next read."""
        if self.closed:
            return
        if self._outgoing:
            try:
                del self._outgoing[: self._raw.send(self._outgoing)]
            except _NOT_NOW:
                return
            except OSError as error:
                self._outgoing.clear()
                if self.paused:  # there would be no next read
                    self._incoming, self._at, self._ended = b"", 0, error
                    self.paused = False
                    self._loop.call_soon(self._on_readable)
        if self._writer and not self._outgoing:
            self._writer = False
            self._loop.remove_writer(self._raw)

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        if not (self._writer or self.closed):
            self._writer = True
            self._loop.add_writer(self._raw, callback)

    def close(self) -> None:
        """Write what can be written and close; more than once is no error."""
        if self.closed:
            return
        self.flush()
        self.pause()
        with contextlib.suppress(OSError):  # closing over unread bytes would reset, and the end of what we sent be lost
            for _ in range(16):
                if not self._raw.recv(CHUNK):
                    break
        self.closed = True
        if self._writer:
            self._loop.remove_writer(self._raw)
        self._raw.close()

    def fileno(self) -> int:
        return self._raw.fileno()

    def setblocking(self, flag: bool) -> None:
        """The socket stays as the event loop needs it: non-blocking."""
