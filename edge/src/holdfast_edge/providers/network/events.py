"""rtnetlink(7): the kernel tells when interfaces, addresses and routes change, whoever changes them."""

import socket
from collections.abc import Callable, Collection
from typing import Final

from holdfast_edge.providers.netlink import run_netlink
from holdfast_edge.providers.port import Wake

_GROUPS: Final = 0x1 | 0x10 | 0x100 | 0x40 | 0x400  # RTMGRP_LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE
_HEADER: Final = 16  # bytes of nlmsghdr: length (4), type (2), …
_LINKS: Final = (16, 17)  # RTM_NEWLINK, RTM_DELLINK


async def run_events(wake: Wake, names: Callable[[], Collection[str]]) -> None:
    """Call `wake` for every change that may concern an interface of `names()`, until cancelled. UnsupportedError:
    NotPermitted. Links of other names are passed over; addresses and routes are not, they carry numbers only."""
    await run_netlink(socket.NETLINK_ROUTE, _GROUPS, "the network", lambda messages: _concerns(messages, names()), wake)


def _concerns(messages: bytes, names: Collection[str]) -> bool:
    wanted = [name.encode() + b"\0" for name in names]
    at = 0
    while wanted and at + _HEADER <= len(messages):
        length = max(int.from_bytes(messages[at : at + 4], "little"), _HEADER)
        kind = int.from_bytes(messages[at + 4 : at + 6], "little")
        if kind not in _LINKS or any(name in messages[at : at + length] for name in wanted):
            return True
        at += (length + 3) & ~3
    return False
