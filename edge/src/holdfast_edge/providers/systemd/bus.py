"""The door to a D-Bus daemon by dbus-fast, made again when it is gone. The only module that knows it."""

import errno
from collections.abc import Callable
from typing import Any, Final

import anyio
from dbus_fast import Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusFastError, InvalidAddressError

from holdfast_edge.providers.systemd.door import DAEMON, DAEMON_PATH, Signal, refusal
from holdfast_protocol.errors import TransientError

CALL_S: Final = 25.0  # D-Bus's own default
CONNECT_S: Final = 10.0
Receiver = Callable[[Signal], None]


class Bus:
    """Calls methods of one service; hands every signal to `receive`. Belongs to the event loop."""

    def __init__(self, address: str, service: str, receive: Receiver) -> None:
        self._address = address
        self._service = service
        self._receive = receive
        self._connection: MessageBus | None = None
        self._lock = anyio.Lock()

    async def connect(self) -> MessageBus:
        """Return the living connection, made now if there is none. Raises TransientError with reason BusDown."""
        async with self._lock:
            if self._connection is not None and self._connection.connected:
                return self._connection
            try:
                connection = MessageBus(bus_address=self._address)
                with anyio.fail_after(CONNECT_S):
                    await connection.connect()
            except (OSError, EOFError, AuthError, InvalidAddressError, TimeoutError) as error:
                raise _bus_down(self._address, error) from error
            connection.add_message_handler(self._take)
            self._connection = connection
            return connection

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Return the body of the answer. Raises TransientError, or Refused when the service said no."""
        return await self._call(self._service, path, interface, member, signature, *body)

    async def match(self, rule: str, *, wanted: bool = True) -> None:
        """Have the daemon send, or stop sending, the signals that fit `rule`."""
        member = "AddMatch" if wanted else "RemoveMatch"
        await self._call(DAEMON, DAEMON_PATH, DAEMON, member, "s", rule)

    async def lost(self) -> None:
        """Return when the connection there is now has ended."""
        if self._connection is None:
            return
        try:
            await self._connection.wait_for_disconnect()  # type: ignore[no-untyped-call]
        except (OSError, EOFError, DBusFastError):
            return

    def drop(self) -> None:
        """End the connection; the next call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.connected:
            connection.disconnect()

    async def _call(
        self, service: str, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> list[Any]:
        connection = await self.connect()
        message = Message(
            destination=service,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=MessageFlag.NO_AUTOSTART,  # a bus may not start a systemd of its own for us
        )
        try:
            with anyio.fail_after(CALL_S):
                answer = await connection.call(message)
        except TimeoutError as error:
            self.drop()  # answers that come later would be mistaken for a living service
            raise _bus_down(f"{self._address}: {member}", error) from error
        except (OSError, EOFError, DBusFastError) as error:
            raise _bus_down(self._address, error) from error
        if answer is None:  # the connection ended with the call under way
            raise _bus_down(self._address, EOFError("connection lost"))
        if answer.message_type is MessageType.ERROR:
            raise refusal(answer.error_name or "", str(answer.body[0]) if answer.body else "", member)
        return [each.value if isinstance(each, Variant) else each for each in answer.body]

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            self._receive(Signal(message.member or "", message.body))


def _bus_down(what: str, error: Exception) -> TransientError:
    return TransientError(f"{what}: {_text(error)}", reason="BusDown")


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in {errno.ENOENT, errno.ECONNREFUSED}:
        return "nobody listens"
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else "connection lost")
