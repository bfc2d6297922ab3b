"""A clock that tests move: hours pass in milliseconds. Rests of up to 50 ms pass at once, so loops need no pushing."""

import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from support.waiting import HANGS_S

SHORT = 0.05  # seconds


class FakeClock:
    def __init__(self, wall: float = 1_790_000_000.0, boottime: float = 1000.0) -> None:
        self._wall = wall
        self._boottime = boottime
        self._sleepers: list[tuple[float, anyio.Event, str]] = []

    def wall(self) -> float:
        return self._wall

    def boottime(self) -> float:
        return self._boottime

    async def sleep(self, seconds: float) -> None:
        if seconds <= SHORT:
            await anyio.sleep(0.001)
            return
        sleeper = (self._boottime + seconds, anyio.Event(), anyio.get_current_task().name or "")
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers = [each for each in self._sleepers if each is not sleeper]

    def advance(self, seconds: float) -> None:
        """Let time pass; those whose time has come sleep no more, and run at the next await."""
        self._wall += seconds
        self._boottime += seconds
        due = [event for until, event, _ in self._sleepers if until <= self._boottime]
        self._sleepers = [each for each in self._sleepers if each[0] > self._boottime]
        for event in due:
            event.set()

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleepers)

    def sleeps(self, name: str) -> bool:
        """Whether a task whose name ends so waits for time to pass."""
        return any(each.endswith(name) for _, _, each in self._sleepers)

    def set_wall(self, wall: float) -> None:
        """Jump, as a clock does when it is set."""
        self._wall = wall


async def eventually(probe: Callable[[], Any], what: str = "") -> Any:
    """Return what `probe`, plain or asynchronous, answers once that is true; TimeoutError when it hangs."""
    deadline = time.monotonic() + HANGS_S
    while True:
        answer = probe()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {HANGS_S:g} s for {what or probe}; last answer: {answer!r}")
        await anyio.sleep(0.002)


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
