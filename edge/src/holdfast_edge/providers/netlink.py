"""netlink(7): the kernel tells when something changes, whoever changes it. No child process."""

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Final

import anyio

from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import UnsupportedError

_MOST: Final = 256 * 1024  # bytes read at once


async def run_netlink(family: int, groups: int, of: str, concerns: Callable[[bytes], bool], wake: Wake) -> None:
    """Call `wake` when any message that waits `concerns` us, or some were lost, until cancelled.

    UnsupportedError: NotPermitted; `of` names what the events are of."""
    with _opened(family, groups, of) as source:
        try:
            while True:
                await anyio.wait_readable(source)
                concerned = [each is None or concerns(each) for each in _waiting(source)]  # all that waits is read
                if any(concerned):
                    wake()
        finally:
            anyio.notify_closing(source)


def _opened(family: int, groups: int, of: str) -> socket.socket:
    try:
        source = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, family)
    except OSError as error:
        raise UnsupportedError(f"no events of {of}: {error.strerror}", reason="NotPermitted") from None
    try:
        source.bind((0, groups))
    except OSError as error:
        source.close()
        raise UnsupportedError(f"no events of {of}: {error.strerror}", reason="NotPermitted") from None
    return source


def _waiting(source: socket.socket) -> Iterator[bytes | None]:
    """Yield all that waits; None where more came at once than the queue holds."""
    while True:
        try:
            yield source.recv(_MOST)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None
