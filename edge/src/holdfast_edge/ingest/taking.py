"""What an input owes whose messages are no readings one by one: durable before acknowledged, repeats known, losses counted.

One row beside the readings, the input's cursor, holds what was taken last and what was rejected and not reported yet; it
is committed with them. [inv: commit-before-ack]
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import anyio
import msgspec

from holdfast_edge.core.sources import SourceState, tally
from holdfast_edge.ingest.intake import REPORT_EVERY, RETRY, Sink
from holdfast_edge.ingest.memory import Memory, Window
from holdfast_protocol.errors import TransientError
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading

WINDOW: Final = 1024  # messages remembered


class Taking:
    """INVARIANT: `window` and `_rejected` say the same as the cursor in the outbox, or more, while `lock` is held.

    `name` is the cursor's and the source's in reports; `note` is told why nothing is taken ("": it is).
    """

    def __init__(
        self,
        name: str,
        outbox: Sink,
        clock: Clock,
        note: Callable[[str], None] = lambda _: None,
        state: SourceState | None = None,
    ) -> None:
        self.state = state or SourceState()
        self.lock = anyio.Lock()
        self._name = name
        self._outbox = outbox
        self._clock = clock
        self._note = note
        self._unreported = anyio.Event()
        stored = outbox.cursor(name)
        memory = msgspec.msgpack.decode(stored, type=Memory) if stored else Memory()
        self.window = Window(memory.window, WINDOW)
        self._rejected = memory.rejected
        if self._rejected:
            self._unreported.set()

    def now(self) -> int:
        """Return milliseconds since 1970."""
        return int(self._clock.wall() * 1000)

    def stored(self, name: str) -> bytes:
        """Return what was committed beside the cursor under this name, b"" for nothing."""
        return self._outbox.cursor(f"{self._name}/{name}")

    def reject(self, place: str, rejection: Rejection) -> None:
        """Count what is no reading; it is acknowledged like any other. [inv: one-bad-message-never-blocks-a-queue]"""
        for held in (self._rejected, self.state.rejected):
            tally(held, rejection.reason, place, rejection.message, rejection.place)

    async def commit(
        self, readings: Sequence[Reading], events: Sequence[Record] = (), beside: Mapping[str, bytes] | None = None
    ) -> None:
        """Return when all this is durable, and never without: while the disk is full nothing more is taken.

        `events` go first: a kill in between says them twice, and never not at all; then what the input keeps `beside`
        its cursor, by name. Call it while `lock` is held.
        """
        if events:
            await self._until_done(lambda: self._outbox.append_records("p2", events))
        for name, value in (beside or {}).items():
            await self._until_done(partial(self._outbox.append_readings, [], cursor=(f"{self._name}/{name}", value)))
        memory = msgspec.msgpack.encode(Memory(self.window.stored(), self._rejected))
        await self._until_done(lambda: self._outbox.append_readings(readings, cursor=(self._name, memory)))
        self.state.readings += len(readings)
        self.state.taken(len(readings), self._clock.boottime())
        if self._rejected:
            self._unreported.set()

    async def _until_done(self, append: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await append()
            except TransientError as error:
                self._note(f"{error.reason}: readings wait at their source: {error.message}")
                self.state.phase, self.state.reason, self.state.problem = "waiting", error.reason, error.message
                await self._clock.sleep(error.after or RETRY)
            else:
                self._note("")
                if self.state.phase == "waiting":
                    self.state.phase, self.state.reason, self.state.problem = "connected", "", ""
                return

    async def run_reports(self) -> None:
        """Report what was rejected, the first at once and then not more often than every `REPORT_EVERY`."""
        while True:
            await self._unreported.wait()
            async with self.lock:
                await self._report()
            await self._clock.sleep(REPORT_EVERY)

    async def _report(self) -> None:
        """Counts stay in the cursor until their record is durable, so a kill in between counts twice and never less.
        [inv: every-loss-is-counted]"""
        records = [
            Record("Rejected", self.now(), {"source": self._name, "reason": reason, **msgspec.structs.asdict(tally)})
            for reason, tally in self._rejected.items()
        ]
        try:
            await self._outbox.append_records("p2", records)
        except TransientError:
            return  # they stay counted, and the next report has them
        self._rejected = {}
        self._unreported = anyio.Event()
        await self.commit([])
