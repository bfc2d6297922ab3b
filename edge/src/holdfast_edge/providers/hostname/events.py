"""The kernel tells when the machine's name changes: by an error condition of the file that shows it, as proc(5) has it."""

import os
import select
from typing import Final

import anyio

from holdfast_edge.providers.port import Wake

_FILE: Final = "/proc/sys/kernel/hostname"


async def run_events(wake: Wake) -> None:
    """Call `wake` for every change, until cancelled. Returns at once where there is no such file."""
    try:
        fd = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    poll = select.epoll()
    try:
        poll.register(fd, 0)  # errors alone, which cannot be masked: the file is always readable
        while True:
            await anyio.wait_readable(poll.fileno())
            poll.poll(0)
            wake()
    finally:
        anyio.notify_closing(poll.fileno())
        poll.close()
        os.close(fd)
