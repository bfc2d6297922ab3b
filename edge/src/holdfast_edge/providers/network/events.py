"""rtnetlink(7): the kernel tells when interfaces, addresses and routes change, whoever changes them."""

import errno
import socket
from collections.abc import Callable, Collection
from typing import Final

import anyio

from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import UnsupportedError

_GROUPS: Final = 0x1 | 0x10 | 0x100 | 0x40 | 0x400  # RTMGRP_LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE
_MOST: Final = 256 * 1024  # bytes read at once
_HEADER: Final = 16  # bytes of nlmsghdr: length (4), type (2), …
_LINKS: Final = (16, 17)  # RTM_NEWLINK, RTM_DELLINK


async def run_events(wake: Wake, names: Callable[[], Collection[str]]) -> None:
    """Call `wake` for every change that may concern an interface of `names()`, until cancelled. UnsupportedError:
    NotPermitted. Links of other names are passed over; addresses and routes are not, they carry numbers only."""
    with _opened() as source:
        try:
            while True:
                await anyio.wait_readable(source)
                if _concerns(source, names()):
                    wake()
        finally:
            anyio.notify_closing(source)


def _opened() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        source = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    except OSError as error:
        raise UnsupportedError(f"no events of the network: {error.strerror}", reason="NotPermitted") from None
    try:
        source.bind((0, _GROUPS))
    except OSError as error:
        source.close()
        raise UnsupportedError(f"no events of the network: {error.strerror}", reason="NotPermitted") from None
    return source


def _concerns(source: socket.socket, names: Collection[str]) -> bool:
    """Read all that waits; true when any of it may concern the names, or some was lost."""
    found = False
    wanted = [name.encode() + b"\0" for name in names]
    while True:
        try:
            data = source.recv(_MOST)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more at once than the queue holds
                raise
            found = True
            continue
        at = 0
        while wanted and not found and at + _HEADER <= len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            kind = int.from_bytes(data[at + 4 : at + 6], "little")
            message = data[at : at + max(length, _HEADER)]
            found = kind not in _LINKS or any(name in message for name in wanted)
            at += (max(length, _HEADER) + 3) & ~3
