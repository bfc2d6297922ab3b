"""The door to a D-Bus daemon by pystemd, which is libsystemd's sd-bus. The only module that knows it.

Its calls block, so they are made in a thread; it holds the interpreter meanwhile, which the settings' documentation says.
What comes without being asked for is read when the socket has something, as sd-bus wants, by the event loop itself: that
part does not block. Never touched after its end: libsystemd would be.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.systemd.door import DAEMON, DAEMON_PATH, Signal, refusal
from holdfast_protocol.errors import TransientError, UnsupportedError

HINT: Final = "pip install 'holdfast-edge[pystemd]'; it is built with a compiler, pkg-config and libsystemd's headers"
_SYSTEMD: Final = "org.freedesktop.systemd1"
_SIGNALS: Final = (
    (DAEMON, "NameOwnerChanged"),
    ("org.freedesktop.DBus.Properties", "PropertiesChanged"),
    (f"{_SYSTEMD}.Manager", "UnitFilesChanged"),
    (f"{_SYSTEMD}.Manager", "Reloading"),
    (f"{_SYSTEMD}.Manager", "JobRemoved"),
)
_LOST: Final = ("System.Error.", f"{DAEMON}.Error.Disconnected", f"{DAEMON}.Error.NoReply", f"{DAEMON}.Error.Timeout")
_NAMED: Final = re.compile(r"DBus(\w+)Error")  # pystemd's class for an error whose name it then no longer tells
_MOST: Final = 10_000  # messages read at one go


class SdBus:
    def __init__(self, address: str, service: str, receive: Callable[[Signal], None]) -> None:
        """Raises UnsupportedError `NoDoor` when pystemd is not installed."""
        try:
            from pystemd import dbusexc, dbuslib
        except ImportError as error:
            raise UnsupportedError(f"pystemd is not there: {error}", reason="NoDoor", hint=HINT) from None
        self._library = dbuslib
        self._error: type[Exception] = dbusexc.DBusBaseError
        self._address = address
        self._service = service
        self._receive = receive
        self._bus: Any = None
        self._asking: Any = None  # the connection a thread is with
        self._fd = -1
        self._ended = anyio.Event()
        self._lock = anyio.Lock()

    async def connect(self) -> None:
        """Raises TransientError with reason BusDown, also while the service is not there: sd-bus would have it started."""
        async with self._lock:
            await self._connected()

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Of an answer of several values the first stands for a list of all: nothing that is asked here has several."""
        return await self._call(self._service, path, interface, member, signature, *body)

    async def match(self, rule: str, *, wanted: bool = True) -> None:
        member = "AddMatch" if wanted else "RemoveMatch"
        await self._call(DAEMON, DAEMON_PATH, DAEMON, member, "s", rule)

    async def lost(self) -> None:
        if self._bus is not None:
            await self._ended.wait()

    def drop(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._ended.set()
            if bus is not self._asking:  # else its call closes it
                bus.close()

    async def _call(
        self, service: str, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> list[Any]:
        async with self._lock:
            bus = await self._connected()
            try:
                answer = await self._asked(bus, service, path, interface, member, signature, *body)
            except self._error as error:
                raise self._failed(error, member) from error
            finally:
                if bus is self._bus:
                    self._read()  # what arrived with the answer makes the socket readable no more
                else:  # dropped meanwhile
                    bus.close()
        return [] if answer is None else [answer]

    async def _connected(self) -> Any:
        if self._bus is not None:
            return self._bus
        bus = self._library.DBusAddress(self._address.encode())
        try:
            await anyio.to_thread.run_sync(bus.open)
            owner = await self._asked(bus, DAEMON, DAEMON_PATH, DAEMON, "NameHasOwner", "s", self._service)
        except self._error as error:
            bus.close()
            raise _bus_down(self._address, _said(error)) from error
        if not owner:
            bus.close()
            raise _bus_down(self._address, f"no {self._service} on it")
        self._bus, self._fd, self._ended = bus, bus.get_fd(), anyio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return bus

    async def _asked(
        self, bus: Any, service: str, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> Any:
        given = self._library.apply_signature(signature.encode(), [_bytes(each) for each in body])
        words = [each.encode() for each in (service, path, interface, member)]
        self._asking = bus
        try:  # not abandoned when cancelled: the thread may still be in the library
            message = await anyio.to_thread.run_sync(bus.call_method, *words, given)
        finally:
            self._asking = None
        return _text(message.body)

    def _read(self) -> None:
        """Hand on what has come, until there is nothing more."""
        nothing = 0
        for _ in range(_MOST):
            bus = self._bus
            if bus is None or nothing > 1:
                return
            try:
                message = bus.process()
            except self._error:
                self.drop()
                return
            found = next((each for each in _SIGNALS if message.is_signal(each[0].encode(), each[1].encode())), None)
            nothing = 0 if found is not None or not message.is_empty() else nothing + 1
            if found is not None:
                message.process_reply(False)
                body = _text(message.body)
                self._receive(Signal(found[1], body if isinstance(body, list) else [] if body is None else [body]))

    def _failed(self, error: Exception, member: str) -> Exception:
        name, said = _name(error), _said(error)
        if name.startswith(_LOST):
            self.drop()
            return _bus_down(self._address, said)
        return refusal(name, said, member)


def _name(error: Exception) -> str:
    name: bytes | str = getattr(error, "err_name", "") or ""
    if name:
        return name.decode(errors="replace") if isinstance(name, bytes) else name
    found = _NAMED.fullmatch(type(error).__name__)
    word = found[1] if found is not None else "Failed"
    if word in ("ConnectionRefused", "Interrupted"):
        return f"System.Error.{word}"
    return f"{_SYSTEMD}.{word}" if word == "NoSuchUnit" else f"{DAEMON}.Error.{word}"


def _said(error: Exception) -> str:
    said: bytes | str = getattr(error, "err_message", "") or ""
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _bus_down(what: str, why: str) -> TransientError:
    return TransientError(f"{what}: {why or 'connection lost'}", reason="BusDown")


def _bytes(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_bytes(each) for each in value]
    return value.encode() if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """Return what sd-bus read with texts for bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_text(each) for each in value)
    return value
