"""nfnetlink(7): the kernel tells when tables of ours change, whoever changes them. No child process, nothing parsed."""

import errno
import socket
from typing import Final

import anyio

from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.firewall import PREFIX

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_TABLES: Final = 1 << 6  # NFNLGRP_NFTABLES, the seventh group
_MOST: Final = 256 * 1024  # bytes of one message
_OURS: Final = PREFIX.encode()


async def run_events(wake: Wake) -> None:
    """Call `wake` for every change that names a table of ours, until cancelled. UnsupportedError: NotPermitted."""
    with _opened() as source:
        try:
            while True:
                await anyio.wait_readable(source)
                if _concerns_us(source):
                    wake()
        finally:
            anyio.notify_closing(source)


def _opened() -> socket.socket:
    try:
        source = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETFILTER
        )
    except OSError as error:
        raise UnsupportedError(f"no events of nftables: {error.strerror}", reason="NoNftables") from None
    try:
        source.bind((0, _TABLES))
    except OSError as error:
        source.close()
        raise UnsupportedError(f"no events of nftables: {error.strerror}", reason="NotPermitted") from None
    return source


def _concerns_us(source: socket.socket) -> bool:
    """Read all that waits; true when any of it names a table of ours, or some was lost."""
    found = False
    while True:
        try:
            found = _OURS in source.recv(_MOST) or found
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more at once than the queue holds
                raise
            found = True
