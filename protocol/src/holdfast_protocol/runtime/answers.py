"""SUBACKs, UNSUBACKs and PUBACKs that somebody waits for, by packet identifier."""

import asyncio
from typing import Final

ANSWER_WITHIN: Final = 60.0  # seconds for a SUBACK or PUBACK; a broker may be alive and still never answer


class _Answer:
    """The caller may be gone; the broker's answer still frees the place in the window."""

    __slots__ = ("beside", "codes", "deadline", "done")

    def __init__(self, deadline: float, *, beside: bool) -> None:
        self.beside = beside
        self.done = asyncio.Event()
        self.codes: tuple[int, ...] = ()
        self.deadline = deadline


class Answers:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, _Answer] = {}  # oldest first

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for an answer who receives nothing meanwhile."""
        return any(not each.beside for each in self._waiting.values())

    @property
    def is_late(self) -> bool:
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.deadline < self._loop.time()

    def expect(self, mid: int, *, beside: bool) -> _Answer:
        answer = self._waiting[mid] = _Answer(self._loop.time() + ANSWER_WITHIN, beside=beside)
        return answer

    def take(self, mid: int, codes: tuple[int, ...]) -> bool:
        """Hand out an answer; return whether it was expected."""
        answer = self._waiting.pop(mid, None)
        if answer is None:
            return False
        answer.codes = codes
        answer.done.set()
        return True

    def wake_all(self) -> None:
        """Nothing more comes: who waits finds no codes."""
        for answer in self._waiting.values():
            answer.done.set()
