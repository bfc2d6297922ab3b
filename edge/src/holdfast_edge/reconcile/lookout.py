"""Lookout: looks at files that may never answer (a dead network share), beside the loop and in bounded numbers.

Nobody can end a thread in a call that the kernel does not end. So each look has one of its own, which holds up no stop of the
process, and who asks while one is under way waits for that one: what hangs keeps one thread, however often it is asked.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


class _Look:
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: Any = None


class Lookout:
    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Look] = {}

    async def look(self, place: Hashable, look: Callable[[], T], *, within: float) -> T:
        """Return what `look`, which raises nothing, returns of a place, called in a thread. Raises TimeoutError after `within`
        seconds."""
        one = self._under_way.get(place) or self._begun(place, look)
        with anyio.fail_after(within):
            await one.done.wait()
        answer: T = one.answer
        return answer

    def _begun(self, place: Hashable, look: Callable[[], T]) -> _Look:
        one, loop = _Look(), asyncio.get_running_loop()

        def run() -> None:
            one.answer = look()
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end)

        def end() -> None:
            del self._under_way[place]
            one.done.set()

        threading.Thread(target=run, name=f"look at {place}"[:100], daemon=True).start()
        self._under_way[place] = one
        return one
