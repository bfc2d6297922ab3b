"""From a source's messages into the outbox: when `take` returns, they are durable, counted as rejected, or known already."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import anyio
import msgspec

from holdfast_edge.core.admission import Admission
from holdfast_edge.core.shaping import Shaper
from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.taking import Sink, Taking
from holdfast_protocol.kinds.device_source import Bounds
from holdfast_protocol.mapping.compiled import Map, Taken
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.readings import Reading

BATCH: Final = 500  # messages committed together
LOOK_EVERY: Final = 5.0  # seconds between two looks for windows to close
Route = tuple[str, int]  # stream, and seconds to live


class Message(msgspec.Struct, frozen=True, gc=False):
    """`received` in milliseconds since 1970. `entry`: what it is known by when it comes again, b"" when it cannot."""

    topic: str
    payload: bytes
    received: int
    entry: bytes = b""
    repeated: bool = False  # its sender says it may have come before
    map_: Map | None = None  # instead of the source's own
    told: bool = False  # its sender hears of a rejection, and what it sends again then is looked at anew


class Intake:
    """Rules, admission and shaping before a `Taking`."""

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
        self.taking = Taking(name, outbox, clock, note, state)
        self.state = self.taking.state
        self._map = map_
        self._clock = clock
        self._believed = believed
        self._admission = Admission(bounds or Bounds())
        self._shaper = Shaper(self.taking.windows)

    def is_known(self, entry: bytes) -> bool:
        """Return whether a message that came again was committed whole."""
        return entry in self.taking.window

    async def take(self, messages: Sequence[Message]) -> list[Rejection | None]:
        """Return, for each message, why it was rejected, None for one that was not, once all of it is durable.

        Waits while the disk is full: then nothing more is taken, and whoever sends holds what comes."""
        async with self._together():
            plan = _Plan()
            answers = [self._one(message, plan) for message in messages]
            for (stream, ttl), (readings, entries) in plan.routes.items():
                await self.taking.commit_beside(readings, stream, ttl, entries)
            await self._commit(plan.telemetry)
        self.state.messages += len(messages)
        if messages:
            self.state.last_message_at = messages[-1].received
        return answers

    def _one(self, message: Message, plan: "_Plan") -> Rejection | None:
        entry, taking = message.entry, self.taking
        if message.repeated and entry in taking.window:
            self.state.repeated += 1
            return None
        taken = (message.map_ or self._map)(message.topic, message.payload, message.received)
        if isinstance(taken, Taken) and not self._admission.is_open:
            refusal = self._admission.refusal(
                taken.readings, message.received, self._clock.boottime(), believed=self._believed()
            )
            taken = refusal or taken
        if entry and not (message.told and isinstance(taken, Rejection)):
            taking.window.add(entry)
        if isinstance(taken, Rejection):
            taking.reject(message.topic, taken)
            return taken
        readings = taken.readings
        if not readings:
            self.state.dropped += 1
            return None
        if taken.shaping is not None:
            before = len(readings)
            readings = self._shaper.shaped(taken.rule, taken.shaping, readings, message.received)
            self.state.shaped += max(before - len(readings), 0)
        if taken.stream == "p3" and not taken.ttl:
            plan.telemetry += readings
            return None
        if message.repeated and entry in taking.beside[taken.stream]:
            self.state.repeated += 1
            return None
        routed, entries = plan.routes.setdefault((taken.stream, taken.ttl), ([], []))
        routed += readings
        if entry:
            entries.append(entry)
        return None

    @contextlib.asynccontextmanager
    async def _together(self) -> AsyncIterator[None]:
        try:
            async with self.taking.together():
                yield
        except BaseException:
            self._shaper = Shaper(self.taking.windows)
            raise

    async def _commit(self, readings: list[Reading]) -> None:
        self.taking.windows = self._shaper.dump()
        await self.taking.commit(readings)

    async def run(self) -> None:
        """Report what was rejected, and close windows whose devices fell silent, for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.taking.run_reports)
            group.start_soon(self._run_closing)

    async def _run_closing(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            if not self._shaper.has_windows:
                continue
            async with self._together():
                readings = self._shaper.closed(self.taking.now())
                if readings:
                    await self._commit(readings)


class _Plan:
    """What one batch becomes: telemetry, and readings by any other route with the identities that are to be remembered with
    them: a kill between two routes' commits leaves the second's messages unknown."""

    def __init__(self) -> None:
        self.telemetry: list[Reading] = []
        self.routes: dict[Route, tuple[list[Reading], list[bytes]]] = {}
