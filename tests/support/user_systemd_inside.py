"""Become a `systemd --user` in namespaces of its own: `python user_systemd_inside.py PARENT_PID`. Ends with its parent."""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

SYSTEMD = "/lib/systemd/systemd"
_NEW_MOUNTS, _NEW_PIDS = 0x0002_0000, 0x2000_0000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_DIE_WITH_PARENT = 1


def main(parent: int) -> NoReturn:
    """Be the process that makes the namespaces, and in them the first process with systemd below it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    checked(libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL))
    if os.getppid() != parent:
        raise SystemExit("the tests ended before systemd began")
    checked(libc.unshare(_NEW_MOUNTS | _NEW_PIDS))
    child = os.fork()
    if child:
        _reap(child)
    checked(libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL))
    checked(libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None))
    checked(libc.mount(b"proc", b"/proc", b"proc", 0, None))
    Path("/run/systemd").mkdir(exist_ok=True)
    checked(libc.mount(b"tmpfs", b"/run/systemd", b"tmpfs", 0, None))
    Path("/run/systemd/system").mkdir()  # without it systemd --user says the machine was not booted with systemd
    systemd = os.fork()
    if systemd:
        _reap(systemd)
    os.execv(SYSTEMD, [SYSTEMD, "--user", "--log-level=warning"])


def _reap(child: int) -> NoReturn:
    """Take in whatever ends, and end with the child."""
    while True:
        ended, status = os.wait()
        if ended == child:
            raise SystemExit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]))
