"""Waiting for something to become true, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
HANGS_S = 60.0  # past it something hangs; a deadline costs nothing while all is well, on no machine however loaded
BOOTED_S = 120.0  # the same for what a booted machine or the build of an image is part of


def until(probe: Callable[[], T], within: float, what: str, every: float = 0.03) -> T:
    """Call `probe` until it answers something true and return that; TimeoutError, naming `what`, after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what}; last answer: {answer!r}")
        time.sleep(every)
