"""How many publishes may be on their way at once: the receive maximum the broker granted."""

import asyncio
from collections import deque


class Window:
    """INVARIANT: while nobody waits, free places + places taken = what `open` granted. First come, first served."""

    def __init__(self) -> None:
        self._free = 0
        self._waiting: deque[asyncio.Event] = deque()

    def open(self, places: int) -> None:
        self._free = places

    async def take(self) -> None:
        """Return with a place taken, or because of `wake_all`."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give()
            else:
                self._waiting.remove(turn)
            raise

    def give(self) -> None:
        """Give a place back, to who has waited longest."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1

    def wake_all(self) -> None:
        """Let everybody go: there is nothing left to wait for."""
        while self._waiting:
            self._waiting.popleft().set()
