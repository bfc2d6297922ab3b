"""The kernel's word that a mount came or went: proc(5), /proc/self/mountinfo is ready with priority after each change."""

import select
from pathlib import Path

import anyio

from holdfast_edge.providers.port import Wake


async def run_mount_events(wake: Wake, path: Path = Path("/proc/self/mountinfo")) -> None:
    """Call `wake` for every change of the mounts, until cancelled. Returns at once where that cannot be told."""
    try:
        with path.open("rb") as mounts, select.epoll() as events:
            events.register(mounts, select.EPOLLPRI | select.EPOLLET)  # else it is always readable
            try:
                while True:
                    await anyio.wait_readable(events.fileno())
                    if events.poll(0):
                        wake()
            finally:
                anyio.notify_closing(events.fileno())
    except OSError:  # not a file of the kernel
        return
