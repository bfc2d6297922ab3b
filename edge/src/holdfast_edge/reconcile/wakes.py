"""Wakes: "look again". Nothing travels with one; who looks finds out what changed. [inv: no-content-in-wakeups]"""

import anyio

from holdfast_protocol.runtime.clock import Clock


class Wakes:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = anyio.Event()

    def wake(self) -> None:
        """Ask for a look. Any number before the look are one. For the event loop's thread."""
        self._event.set()

    @property
    def pending(self) -> bool:
        """Return whether a look was asked for and has not begun."""
        return self._event.is_set()

    def take(self) -> None:
        """Begin a look: what wakes from here on asks for the next one."""
        self._event = anyio.Event()

    async def wait(self, *, at_least: float, at_most: float) -> None:
        """Return at a wake, not before `at_least` seconds (a flood of wakes is one look) nor after `at_most`."""
        if at_least > 0:
            await self._clock.sleep(at_least)
        if at_most > at_least:
            async with anyio.create_task_group() as group:
                group.start_soon(self._wake_after, at_most - at_least)
                await self._event.wait()
                group.cancel_scope.cancel()

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._event.set()
