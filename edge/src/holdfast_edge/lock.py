"""Lock: one process at a time has the state folder. [inv: one-writer-per-database]"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holdfast_protocol.errors import ConflictError

NAME: Final = "lock"
GUARD_WITHIN: Final = 60.0  # seconds an agent that starts lets a guard finish
_AGAIN: Final = 0.05  # seconds


@contextlib.contextmanager
def locked(folder: Path, *, who: str = "agent") -> Iterator[None]:
    """Hold the state folder. Raises ConflictError AlreadyRunning; a guard is waited for. Blocks."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / NAME).open("a+") as lock:
        deadline = time.monotonic() + GUARD_WITHIN
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if who != "agent" or _holder(folder)[0] != "guard" or time.monotonic() > deadline:
                    raise ConflictError(f"another agent uses {folder}", reason="AlreadyRunning") from None
                time.sleep(_AGAIN)
        lock.truncate(0)
        lock.write(f"{who} {os.getpid()}\n")
        lock.flush()
        yield


def held_by(folder: Path) -> int:
    """Return the process of the agent that holds the folder, 0 when nobody says so."""
    who, pid = _holder(folder)
    return pid if who == "agent" else 0


def _holder(folder: Path) -> tuple[str, int]:
    try:
        who, _, pid = (folder / NAME).read_text().strip().partition(" ")
        return who, int(pid or 0)
    except (OSError, ValueError):
        return "", 0
