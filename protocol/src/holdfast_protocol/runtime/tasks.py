"""Named loops in one task group: the first that dies ends the process, and says which."""

import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio

from holdfast_protocol.errors import HoldfastError, render

log = logging.getLogger(__name__)


class LoopDied(Exception):
    """A loop ended that must not; its cause says why. A supervisor restarts the process: state is on disk."""

    def __init__(self, name: str) -> None:
        super().__init__(f"loop '{name}' died")
        self.name = name


async def run_all(
    loops: Mapping[str, Callable[[], Awaitable[None]]], *, ready: Callable[[], None] | None = None
) -> None:
    """Run every loop until cancelled or until one raises. A loop that returns is finished, which is no error."""
    async with anyio.create_task_group() as group:
        for name, loop in loops.items():
            group.start_soon(_named, name, loop, name=name)
        if ready is not None:
            ready()


def death(error: BaseException) -> LoopDied | None:
    """Return the first loop that died, out of the groups a task group raises; None when none did."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := death(each))), None)
    return error if isinstance(error, LoopDied) else None


async def _named(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    try:
        await loop()
    except HoldfastError as error:
        log.critical("loop '%s' died: %s", name, render(error))
        raise LoopDied(name) from error
    except Exception as error:  # anything else is our bug: the name of the loop must survive into the report
        log.critical("loop '%s' died", name, exc_info=error)
        raise LoopDied(name) from error
