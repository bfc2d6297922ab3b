"""Turns: looks that ask the kernel hundreds of small questions go one after the other, in a thread.

Two such threads hand the interpreter to each other at every question, and together take longer than in a row. A look that
does not end (a dead network share) holds the others up for PATIENCE once, then they go beside it.
"""

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

Given = TypeVarTuple("Given")
T = TypeVar("T")
PATIENCE: Final = 0.05  # seconds
_TURN: Final[RunVar[anyio.Lock]] = RunVar("holdfast-turn")


async def in_turn(look: Callable[[Unpack[Given]], T], *given: *Given) -> T:
    """Return what `look` returns, called in a thread."""
    turn = _TURN.get(None)
    if turn is None:
        _TURN.set(turn := anyio.Lock(fast_acquire=True))
    taken = False
    with anyio.move_on_after(PATIENCE):
        await turn.acquire()
        taken = True
    try:
        return await anyio.to_thread.run_sync(look, *given)
    finally:
        if taken:
            turn.release()
