"""What every input owes: durable before acknowledged, repeats known, losses counted.

One row beside the readings, the input's cursor, holds what was taken last and what was rejected and not reported yet; it
is committed with them, so a redelivery after a kill between commit and acknowledgement is recognised. [inv: commit-before-ack]
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import anyio
import msgspec

from holdfast_edge.core.sources import SourceState, tally
from holdfast_edge.ingest.memory import Memory, Window
from holdfast_protocol.errors import MisuseError, TransientError
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading, encode

REPORT_EVERY: Final = 60.0  # seconds between two reports of what was rejected
RETRY: Final = 1.0  # seconds, when the outbox names none
BESIDE: Final = ("p1", "p2", "p3")  # what is committed apart (of p3: with a time to live), knowing its own messages


class Sink(Protocol):
    """What ingest needs of the outbox."""

    async def append_readings(
        self,
        readings: Sequence[Reading],
        *,
        stream: str = "p3",
        ttl: float = 0.0,
        cursors: Mapping[str, bytes] | None = None,
    ) -> None: ...
    async def append_records(self, stream: str, records: Sequence[Record]) -> None: ...
    def cursor(self, name: str) -> bytes: ...


class Taking:
    """INVARIANTS:
    - while `lock` is held, the windows and `_rejected` say the same as the cursors in the outbox, or more;
    - `commit` comes last, with the memory of the whole message: what another class has of a message that is not committed
      whole, that class's own cursor knows.

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
        memory = self._stored(name)
        self.window = self._window(name, memory)
        self.beside = {stream: self._window(f"{name}/taken/{stream}") for stream in BESIDE}
        self.windows = self._open_windows = (
            memory.windows
        )  # of shaping, still open: to commit with the rest, and committed
        self._rejected = memory.rejected
        if self._rejected:
            self._unreported.set()

    def _stored(self, name: str) -> Memory:
        stored = self._outbox.cursor(name)
        return msgspec.msgpack.decode(stored, type=Memory) if stored else Memory()

    def _window(self, name: str, memory: Memory | None = None) -> Window:
        return Window(memory or self._stored(name), lambda slot: self._outbox.cursor(f"{name}/taken/{slot}"))

    def now(self) -> int:
        """Return milliseconds since 1970."""
        return int(self._clock.wall() * 1000)

    def stored(self, name: str) -> bytes:
        """Return what was committed beside the cursor under this name, b"" for nothing."""
        return self._outbox.cursor(f"{self._name}/{name}")

    @property
    def _windows(self) -> tuple[Window, ...]:
        return (self.window, *self.beside.values())

    def begin(self, *, anew: bool) -> None:
        """Begin a connection whose sender can be asked what it knows; `anew`: of a session that begins its identities anew."""
        for window in self._windows:
            if anew:
                window.clear()
            window.begin()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Hold `lock` for all that is taken and committed at once; what is cut short before its commit was not taken."""
        async with self.lock:
            try:
                yield
            except BaseException:
                for window in self._windows:
                    window.withdraw()
                self.windows = self._open_windows
                raise

    def mark(self) -> tuple[int, ...]:
        """Return what `confirm` takes for everything taken up to now."""
        return tuple(window.mark for window in self._windows)

    def confirm(self, mark: tuple[int, ...]) -> None:
        """The sender knows that what was taken on this connection up to a mark is acknowledged: it does not come again."""
        for window, place in zip(self._windows, mark, strict=True):
            window.confirm(place)

    def reject(self, place: str, rejection: Rejection) -> None:
        """Count what is no reading; it is acknowledged like any other. [inv: one-bad-message-never-blocks-a-queue]"""
        for held in (self._rejected, self.state.rejected):
            tally(held, rejection.reason, place, rejection.message, rejection.place)

    async def commit(
        self, readings: Sequence[Reading], events: Sequence[Record] = (), beside: Mapping[str, bytes] | None = None
    ) -> None:
        """Return when all this is durable, and never without: while the disk is full nothing more is taken.

        `events` go first: a kill in between says them twice, and never not at all; `beside` the cursor is what the input
        keeps, by name. Call it while `lock` is held.
        """
        if events:
            await self._until_done(lambda: self._outbox.append_records("p2", events))
        kept = {f"{self._name}/{name}": value for name, value in (beside or {}).items()}
        await self._append(readings, "p3", 0, self.window, self._name, kept)
        if self._rejected:
            self._unreported.set()

    async def commit_beside(
        self, readings: Sequence[Reading], stream: str, ttl: int, entries: Sequence[bytes] = ()
    ) -> None:
        """The same for readings that are not plain telemetry, before the `commit` of their messages."""
        window = self.beside[stream]
        for entry in entries:
            window.add(entry)
        await self._append(readings, stream, ttl, window, f"{self._name}/taken/{stream}", {})

    async def _append(
        self,
        readings: Sequence[Reading],
        stream: str,
        ttl: int,
        window: Window,
        name: str,
        cursors: dict[str, bytes],
    ) -> None:
        memory = window.dump()
        if window is self.window:
            memory.rejected, memory.windows = self._rejected, self.windows
        cursors[name] = msgspec.msgpack.encode(memory)
        cursors |= {f"{name}/taken/{slot}": chunk for slot, chunk in window.unsaved().items()}
        try:
            await self._until_done(
                lambda: self._outbox.append_readings(readings, stream=stream, ttl=ttl, cursors=cursors)
            )
        except MisuseError as error:
            fit = self._fit(readings) if error.reason == "BadReading" else readings
            if len(fit) == len(readings):
                raise
            await self._append(fit, stream, ttl, window, name, cursors)
            return
        window.saved()
        if window is self.window:
            self._open_windows = self.windows
        self.state.readings += len(readings)
        self.state.taken(len(readings), self._clock.boottime())

    def _fit(self, readings: Sequence[Reading]) -> list[Reading]:
        """Return readings without those that cannot be stored, which are counted: what no check of ours foresaw costs
        itself only."""
        found: list[Reading] = []
        for reading in readings:
            try:
                encode([reading])
            except MisuseError as error:
                self.reject(f"{reading.device}/{reading.metric}", Rejection("BadReading", error.message))
            else:
                found.append(reading)
        return found

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
