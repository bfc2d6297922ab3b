"""Asker: puts questions beside the loop, so that a slow answer holds up only the change it is about."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import anyio.abc

from holdfast_edge.core.deferral import Ask
from holdfast_edge.reconcile import questions
from holdfast_edge.reconcile.lookout import Lookout
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.names import ResourceKey

FRESH: Final = 10.0  # seconds an answer is believed
AT_ONCE: Final = 16  # questions under way


class Asker:
    def __init__(self, clock: Clock, commands: Collection[str], *, within: float, wake: Callable[[], None]) -> None:
        """`commands` are those that may be started; `within` is in seconds for one answer."""
        self._lookout = Lookout()
        self._clock = clock
        self._commands = frozenset(commands)
        self._within = within
        self._wake = wake
        self._answers: dict[tuple[ResourceKey, Ask], tuple[float, str]] = {}
        self._asking: set[tuple[ResourceKey, Ask]] = set()

    def answer(self, group: anyio.abc.TaskGroup, key: ResourceKey, ask: Ask) -> str | None:
        """Return why not now, "" for go ahead; None until there is a fresh answer, which wakes the loop."""
        question, now = (key, ask), self._clock.boottime()
        at, said = self._answers.get(question, (-FRESH, ""))
        if now - at < FRESH:
            return said
        if question not in self._asking and len(self._asking) < AT_ONCE:
            self._asking.add(question)
            group.start_soon(self._put, question)
        return None

    async def notes(self, folder: Path) -> tuple[questions.Note, ...]:
        """Return what the files of a folder say; of one that does not answer, that it does not."""
        try:
            return await self._lookout.look(folder, partial(questions.read_notes, folder), within=self._within)
        except TimeoutError:
            return (questions.Note(str(folder), f"no answer within {self._within:g} s: {folder}"),)

    async def _put(self, question: tuple[ResourceKey, Ask]) -> None:
        key, ask = question
        try:
            said = await questions.put(ask, key, within=self._within, commands=self._commands, lookout=self._lookout)
            now = self._clock.boottime()
            self._answers = {each: held for each, held in self._answers.items() if now - held[0] < FRESH}
            self._answers[question] = (now, said)
        finally:
            self._asking.discard(question)
            self._wake()
