"""What runs the wanted sources: a loop each, and what it says of itself."""

import contextlib
from collections.abc import Callable, Mapping

import anyio.to_thread

from holdfast_edge.core.sources import Phase, SourceState
from holdfast_edge.ingest.loops import run_anew, run_loops
from holdfast_edge.ingest.opening import Surroundings, opened
from holdfast_edge.ingest.taking import Sink
from holdfast_edge.settings import Near
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.sources import Kept, Sources
from holdfast_edge.store.whereabouts import BUILT_IN
from holdfast_protocol.errors import HoldfastError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import Backoff
from holdfast_protocol.runtime.mqtt import Dial
from holdfast_protocol.wire.names import ResourceKey, SiteName


async def run_sources(
    sources: Sources,
    dial: Dial,
    outbox: Sink,
    clock: Clock,
    *,
    site: SiteName,
    believed: Callable[[], bool] = lambda: True,
    orders: Orders | None = None,
    near: Near | None = None,
) -> None:
    """Run a loop for each wanted source until cancelled. `believed` answers whether the wall clock is right; `orders` go to
    the devices of those that carry them; `near` is the site's broker."""
    running = _Running(sources, Surroundings(dial, outbox, clock, site, believed, orders, near))
    await run_loops(sources, running.run_one, running.settle)


class _Running:
    def __init__(self, sources: Sources, around: Surroundings) -> None:
        self._sources = sources
        self._around = around

    async def settle(self, kept: Mapping[ResourceKey, Kept]) -> None:
        if self._around.orders is not None:
            with contextlib.suppress(TransientError):  # no room: where nobody is, nothing is given
                await self._around.orders.whereabouts.keep({*kept, BUILT_IN})

    async def run_one(self, kept: Kept) -> None:
        state = self._sources.states[kept.key] = SourceState()
        backoff = Backoff()

        def tell(phase: Phase, reason: str = "", problem: str = "") -> None:
            before = (state.phase, state.reason)
            state.phase, state.reason, state.problem = phase, reason, problem
            if phase == "connected":
                backoff.reset()
            if before != (phase, reason):
                self._sources.on_change()

        def failed(error: HoldfastError) -> None:
            tell("failed", error.reason, error.message)

        async def serve() -> None:
            if state.phase == "failed":
                tell("starting", state.reason, state.problem)
            run = await anyio.to_thread.run_sync(opened, kept, self._around, state, tell)
            await run()

        try:
            await run_anew(serve, failed, self._around.clock, backoff=backoff)
        finally:
            self._sources.states.pop(kept.key, None)
