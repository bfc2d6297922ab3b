"""From a source's messages into the outbox: when `take` returns, they are durable, counted as rejected, or known already.

What comes twice is stored once: the identities of the last messages are committed together with their readings, so a
redelivery after a kill between commit and acknowledgement is recognised. [inv: commit-before-ack]
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import anyio
import msgspec

from holdfast_edge.core.admission import Admission
from holdfast_edge.core.shaping import Shaper
from holdfast_edge.core.sources import SourceState, tally
from holdfast_edge.ingest.memory import Memory, Window
from holdfast_protocol.errors import MisuseError, TransientError
from holdfast_protocol.kinds.device_source import Bounds
from holdfast_protocol.mapping.compiled import Map, Taken
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading

BATCH: Final = 500  # messages committed together
WINDOW: Final = 16_384  # messages remembered: more than can come again
REPORT_EVERY: Final = 60.0  # seconds between two reports of what was rejected
LOOK_EVERY: Final = 5.0  # seconds between two looks for windows to close
RETRY: Final = 1.0  # seconds, when the outbox names none


class Sink(Protocol):
    """What ingest needs of the outbox."""

    async def append_readings(
        self,
        readings: Sequence[Reading],
        *,
        stream: str = "p3",
        ttl: float = 0.0,
        cursor: tuple[str, bytes] | None = None,
    ) -> None: ...
    async def append_records(self, stream: str, records: Sequence[Record]) -> None: ...
    def cursor(self, name: str) -> bytes: ...


Route = tuple[str, int]  # stream, and seconds to live
_TELEMETRY: Final[Route] = ("p3", 0)


class Message(msgspec.Struct, frozen=True, gc=False):
    """`received` in milliseconds since 1970. `entry`: what it is known by when it comes again, b"" when it cannot."""

    topic: str
    payload: bytes
    received: int
    entry: bytes = b""
    repeated: bool = False  # its sender says it may have come before
    map_: Map | None = None  # instead of the source's own


class Intake:
    """INVARIANTS:
    - while `_lock` is held, the memory here says the same as the cursors in the outbox, or more;
    - telemetry is committed last, with the memory of the whole message: what another stream has of a message whose
      telemetry is not committed, that stream's own cursor knows.
    """

    def __init__(
        self,
        name: str,
        map_: Map,
        outbox: Sink,
        clock: Clock,
        *,
        bounds: Bounds | None = None,
        note: Callable[[str], None] = lambda _: None,
        believed: Callable[[], bool] = lambda: True,
        state: SourceState | None = None,
    ) -> None:
        """`note` is told why nothing is taken ("": something is), `believed` answers whether the wall clock is right."""
        self.state = state or SourceState()
        self._name = name
        self._map = map_
        self._outbox = outbox
        self._clock = clock
        self._note = note
        self._believed = believed
        self._admission = Admission(bounds or Bounds())
        self._lock = anyio.Lock()
        self._unreported = anyio.Event()
        stored = outbox.cursor(name)
        memory = msgspec.msgpack.decode(stored, type=Memory) if stored else Memory()
        self._window = Window(memory.window, WINDOW)
        self._others = {stream: Window(outbox.cursor(f"{name}/{stream}"), WINDOW) for stream in ("p1", "p2")}
        self._rejected = memory.rejected
        self._shaper = Shaper(memory.windows)
        if self._rejected:
            self._unreported.set()

    def forget(self) -> None:
        """A new session: the identities of its messages begin anew."""
        for window in (self._window, *self._others.values()):
            window.clear()

    def confirm(self, entries: Iterable[bytes]) -> None:
        """The sender knows that these are acknowledged: they do not come again, and need no remembering."""
        for window in (self._window, *self._others.values()):
            window.drop(entries)

    def is_known(self, entry: bytes) -> bool:
        """Return whether a message that came again was committed whole."""
        return entry in self._window

    async def take(self, messages: Sequence[Message]) -> list[Rejection | None]:
        """Return, for each message, why it was rejected, None for one that was not, once all of it is durable.

        Waits while the disk is full: then nothing more is taken, and whoever sends holds what comes."""
        async with self._lock:
            plan = _Plan()
            answers = [self._one(message, plan) for message in messages]
            await self._commit(plan)
            await self._append(plan.routes.pop(_TELEMETRY, []), _TELEMETRY)
        now, state = self._clock.boottime(), self.state
        state.messages += len(messages)
        state.readings += plan.count
        state.taken(plan.count, now)
        if messages:
            state.last_message_at = messages[-1].received
        if self._rejected:
            self._unreported.set()
        return answers

    def _one(self, message: Message, plan: "_Plan") -> Rejection | None:
        if message.repeated and message.entry in self._window:
            self.state.repeated += 1
            return None
        if message.entry:
            self._window.add(message.entry)
        taken = (message.map_ or self._map)(message.topic, message.payload, message.received)
        if isinstance(taken, Taken) and not self._admission.is_open:
            refusal = self._admission.refusal(
                taken.readings, message.received, self._clock.boottime(), believed=self._believed()
            )
            taken = refusal or taken
        if isinstance(taken, Rejection):
            self._reject(message.topic, taken)
            return taken
        readings = taken.readings
        if not readings:
            self.state.dropped += 1
            return None
        if taken.shaping is not None:
            before = len(readings)
            readings = self._shaper.shaped(taken.rule, taken.shaping, readings, message.received)
            self.state.shaped += max(before - len(readings), 0)
        others = self._others.get(taken.stream)
        if others is not None and message.entry:
            if message.repeated and message.entry in others:
                self.state.repeated += 1
                return None
            plan.entries.setdefault(taken.stream, []).append(message.entry)
        plan.add((taken.stream, taken.ttl), readings)
        return None

    def _reject(self, topic: str, rejection: Rejection) -> None:
        """Count a message that is no reading; it is acknowledged like any other. [inv: one-bad-message-never-blocks-a-queue]"""
        for held in (self._rejected, self.state.rejected):
            tally(held, rejection.reason, topic, rejection.message, rejection.place)

    async def _commit(self, plan: "_Plan") -> None:
        """Commit everything but plain telemetry, each stream with what it will know of these messages."""
        for route in [route for route in plan.routes if route != _TELEMETRY]:
            stream = route[0]
            window = self._others.get(stream)
            entries = plan.entries.pop(stream, [])
            for entry in entries:
                assert window is not None
                window.add(entry)
            cursor = (f"{self._name}/{stream}", window.stored()) if window is not None else None
            await self._until_committed(plan.routes.pop(route), route, cursor)

    async def _append(self, readings: list[Reading], route: Route) -> None:
        memory = Memory(self._window.stored(), self._rejected, self._shaper.dump())
        await self._until_committed(readings, route, (self._name, msgspec.msgpack.encode(memory)))

    async def _until_committed(self, readings: list[Reading], route: Route, cursor: tuple[str, bytes] | None) -> None:
        stream, ttl = route
        while True:
            try:
                await self._outbox.append_readings(readings, stream=stream, ttl=ttl, cursor=cursor)
            except TransientError as error:
                self._note(f"{error.reason}: readings wait at the source: {error.message}")
                self.state.phase, self.state.reason, self.state.problem = "waiting", error.reason, error.message
                await self._clock.sleep(error.after or RETRY)
            except MisuseError as error:
                if error.reason != "BadReading" or not readings:
                    raise
                rejection = Rejection("BadReading", error.message)  # what no check of ours foresaw costs itself only
                for reading in readings:
                    self._reject(f"{reading.device}/{reading.metric}", rejection)
                readings = []
            else:
                self._note("")
                if self.state.phase == "waiting":
                    self.state.phase, self.state.reason, self.state.problem = "connected", "", ""
                return

    async def run(self) -> None:
        """Report what was rejected, and close windows whose devices fell silent, for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_reports)
            group.start_soon(self._run_closing)

    async def _run_closing(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            if not self._shaper.has_windows:
                continue
            async with self._lock:
                readings = self._shaper.closed(int(self._clock.wall() * 1000))
                if readings:
                    await self._append(readings, _TELEMETRY)

    async def _run_reports(self) -> None:
        """Report the first at once and then not more often than every `REPORT_EVERY`."""
        while True:
            await self._unreported.wait()
            async with self._lock:
                await self._report()
            await self._clock.sleep(REPORT_EVERY)

    async def _report(self) -> None:
        """Counts stay in the cursor until their record is durable, so a kill in between counts twice and never less.
        [inv: every-loss-is-counted]"""
        at = int(self._clock.wall() * 1000)
        records = [
            Record("Rejected", at, {"source": self._name, "reason": reason, **msgspec.structs.asdict(each)})
            for reason, each in self._rejected.items()
        ]
        try:
            await self._outbox.append_records("p2", records)
        except TransientError:
            return  # they stay counted, and the next report has them
        self._rejected = {}
        self._unreported = anyio.Event()
        await self._append([], _TELEMETRY)


class _Plan:
    """What one batch becomes: readings by route, and the identities that streams beside telemetry must remember."""

    def __init__(self) -> None:
        self.routes: dict[Route, list[Reading]] = {}
        self.entries: dict[str, list[bytes]] = {}
        self.count = 0

    def add(self, route: Route, readings: list[Reading]) -> None:
        self.count += len(readings)
        held = self.routes.get(route)
        if held is None:
            self.routes[route] = list(readings)
        else:
            held += readings
