"""A network of one's own for the thread that asks, and for every thread and child it starts afterwards."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.waiting import HANGS_S

_NEW_NETWORK = 0x4000_0000


@contextmanager
def entered() -> Iterator[None]:
    """Have an empty network with loopback up: its own packet filter and its own net.* settings. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(_NEW_NETWORK))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=HANGS_S)
            yield
        finally:
            _check(libc.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
