"""What the C library keeps of freed memory: little. Left alone, it learns from every large block to keep more."""

import ctypes
from typing import Final

ARENAS: Final = 2  # heaps beside each other: more are faster only for threads that do not share one interpreter
KEPT: Final = 64 * 1024  # bytes at the end of a heap
_TRIM_THRESHOLD: Final = -1  # of mallopt(3)
_ARENA_MAX: Final = -8


def keep_little() -> None:
    """Have freed memory go back to the system. For the start of a process; no effect without the GNU C library's mallopt."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_ARENA_MAX, ARENAS)
        tune(_TRIM_THRESHOLD, KEPT)
