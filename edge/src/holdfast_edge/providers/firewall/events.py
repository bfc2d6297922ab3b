"""nfnetlink(7): the kernel tells when tables of ours change, whoever changes them. Nothing is parsed."""

from typing import Final

from holdfast_edge.providers.netlink import run_netlink
from holdfast_edge.providers.port import Wake
from holdfast_protocol.kinds.firewall import PREFIX

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_TABLES: Final = 1 << 6  # NFNLGRP_NFTABLES, the seventh group
_OURS: Final = PREFIX.encode()


async def run_events(wake: Wake) -> None:
    """Call `wake` for every change that names a table of ours, until cancelled. UnsupportedError: NotPermitted."""
    await run_netlink(_NETFILTER, _TABLES, "nftables", lambda data: _OURS in data, wake)
