"""What systemd wants to be told: sd_notify(3), a datagram to the socket it names."""

import contextlib
import os
import socket
from collections.abc import Callable

from holdfast_protocol.runtime.clock import Clock


def notify(state: str) -> None:
    """Send READY=1, WATCHDOG=1 or STOPPING=1; nothing happens when nobody asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # A supervisor that is being restarted, or busy, is asked again: the watchdog's next word is not far.
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


async def run_watchdog(clock: Clock, alive: Callable[[], bool]) -> None:
    """Tell the supervisor we live, at half its limit, as long as `alive` says so. Returns when it set none."""
    limit = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    while limit > 0:
        if alive():
            notify("WATCHDOG=1")
        await clock.sleep(limit / 2)
