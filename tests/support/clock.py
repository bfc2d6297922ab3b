"""A clock that tests move: hours pass in milliseconds. Rests of up to 50 ms pass at once, so loops need no pushing."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

SHORT = 0.05  # seconds


class FakeClock:
    def __init__(self, wall: float = 1_790_000_000.0, boottime: float = 1000.0) -> None:
        self._wall = wall
        self._boottime = boottime
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def wall(self) -> float:
        return self._wall

    def boottime(self) -> float:
        return self._boottime

    async def sleep(self, seconds: float) -> None:
        if seconds <= SHORT:
            await anyio.sleep(0.001)
            return
        sleeper = (self._boottime + seconds, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers = [each for each in self._sleepers if each is not sleeper]

    def advance(self, seconds: float) -> None:
        """Let time pass; those whose time has come run at the next await."""
        self._wall += seconds
        self._boottime += seconds
        for until, event in self._sleepers:
            if until <= self._boottime:
                event.set()

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleepers)

    def set_wall(self, wall: float) -> None:
        """Jump, as a clock does when it is set."""
        self._wall = wall


async def eventually(probe: Callable[[], Any], what: str = "", within: float = 10.0) -> Any:
    """Return what `probe` answers once that is true; TimeoutError after `within` real seconds."""
    deadline = time.monotonic() + within
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what or probe}")
        await anyio.sleep(0.002)
    return answer


async def never(probe: Callable[[], Any], turns: int = 30) -> None:
    """Let everything run for a while and see that `probe` stays false."""
    for _ in range(turns):
        assert not probe()
        await anyio.sleep(0.001)


class Running:
    """Something in the background of a test: `async with Running(loop) as it: ...`, ended at the end."""

    def __init__(self, *loops: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._loops = loops
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> "Running":
        await self._group.__aenter__()
        for loop in self._loops:
            self._group.start_soon(loop)
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(*error)
