"""One loop a source: begun, ended and begun anew as the wanted sources change; one that fails is tried again, alone."""

import contextlib
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from holdfast_edge.core.sources import Phase, SourceState
from holdfast_edge.ingest.opening import Surroundings, opened
from holdfast_edge.ingest.taking import Sink
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.sources import Kept, Sources
from holdfast_edge.store.whereabouts import BUILT_IN
from holdfast_protocol.errors import HoldfastError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import Backoff
from holdfast_protocol.runtime.mqtt import Dial
from holdfast_protocol.wire.names import ResourceKey, SiteName

CHANCE: Final = 1.0  # of the longest wait: loops of one node need no jitter


async def run_sources(
    sources: Sources,
    dial: Dial,
    outbox: Sink,
    clock: Clock,
    *,
    site: SiteName,
    believed: Callable[[], bool] = lambda: True,
    orders: Orders | None = None,
) -> None:
    """Run a loop for each wanted source until cancelled. `believed` answers whether the wall clock is right; `orders` go to
    the devices of those that carry them."""
    await Supervisor(sources, Surroundings(dial, outbox, clock, site, believed, orders)).run()


class Supervisor:
    def __init__(self, sources: Sources, around: Surroundings) -> None:
        self._sources = sources
        self._around = around
        self._running: dict[ResourceKey, tuple[str, anyio.CancelScope, anyio.Event]] = {}  # digest, scope, ended

    async def run(self) -> None:
        await anyio.to_thread.run_sync(lambda: self._sources.kept)
        async with anyio.create_task_group() as group:
            while True:
                revision = self._sources.revision
                kept = dict(self._sources.kept)
                await self._end(kept)
                if self._around.orders is not None:
                    with contextlib.suppress(TransientError):  # no room: where nobody is, nothing is given
                        await self._around.orders.whereabouts.keep({*kept, BUILT_IN})
                for key, each in kept.items():
                    if key not in self._running:
                        scope, ended = anyio.CancelScope(), anyio.Event()
                        self._running[key] = (each.digest, scope, ended)
                        group.start_soon(self._run_one, each, scope, ended)
                await self._sources.changed(revision)

    async def _end(self, kept: dict[ResourceKey, Kept]) -> None:
        """End loops that are wanted no longer, or otherwise; each has let go of its connection on return."""
        for key, (digest, scope, ended) in list(self._running.items()):
            if key not in kept or kept[key].digest != digest:
                scope.cancel()
                await ended.wait()
                del self._running[key]
                self._sources.states.pop(key, None)

    async def _run_one(self, kept: Kept, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        state = self._sources.states[kept.key] = SourceState()
        try:
            with scope:
                await self._run_anew(kept, state)
        finally:
            ended.set()

    async def _run_anew(self, kept: Kept, state: SourceState) -> None:
        backoff, clock = Backoff(), self._around.clock

        def tell(phase: Phase, reason: str = "", problem: str = "") -> None:
            before = (state.phase, state.reason)
            state.phase, state.reason, state.problem = phase, reason, problem
            if phase == "connected":
                backoff.reset()
            if before != (phase, reason):
                self._sources.on_change()

        while True:
            try:
                run = await anyio.to_thread.run_sync(opened, kept, self._around, state, tell)
                await run()
            except* HoldfastError as group:
                error = _first(group)
                tell("failed", error.reason, error.message)
            else:
                tell("failed", "Ended", "the source came to its end")
            await clock.sleep(backoff.wait(state.reason, CHANCE, clock.boottime()))
            tell("starting", state.reason, state.problem)


def _first(group: BaseExceptionGroup[HoldfastError]) -> HoldfastError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, HoldfastError)
    return error
