"""What systemd wants to be told: sd_notify(3), a datagram to the socket it names."""

import os
import socket
from collections.abc import Callable

from holdfast_protocol.runtime.clock import Clock


def notify(state: str) -> None:
    """Send READY=1, WATCHDOG=1 or STOPPING=1; nothing happens when nobody asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


async def run_watchdog(clock: Clock, alive: Callable[[], bool]) -> None:
    """Tell the supervisor we live, at half its limit, as long as `alive` says so. Returns when it set none."""
    limit = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    while limit > 0:
        if alive():
            notify("WATCHDOG=1")
        await clock.sleep(limit / 2)
