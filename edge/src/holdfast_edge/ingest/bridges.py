"""What runs the wanted bridges: a loop each with its queue, and a connection to either side while that lasts."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
import anyio.to_thread

from holdfast_edge.ingest.loops import run_anew, run_loops
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Kept
from holdfast_protocol.bridging.standing import BridgeState, Stand, Way
from holdfast_protocol.errors import HoldfastError, PermanentError, WireError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place, Wanted
from holdfast_protocol.relay.opening import bounds_of, plan_of
from holdfast_protocol.relay.queue import Queue, open_queue
from holdfast_protocol.relay.readings import Feed
from holdfast_protocol.relay.run import Plan, Relay
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.mqtt import Dial
from holdfast_protocol.wire.names import ResourceKey


async def run_bridges(bridges: Bridges, dial: Dial, tee: Tee, clock: Clock, place: Place) -> None:
    """Run a loop for each wanted bridge until cancelled; `place` is this node, `tee` where readings come by."""
    running = _Running(bridges, dial, tee, clock, place)
    await run_loops(bridges.files, running.run_one, running.settle)


class _Running:
    def __init__(self, bridges: Bridges, dial: Dial, tee: Tee, clock: Clock, place: Place) -> None:
        self._bridges = bridges
        self._dial = dial
        self._tee = tee
        self._clock = clock
        self._place = place

    async def settle(self, kept: Mapping[ResourceKey, Kept]) -> None:
        await anyio.to_thread.run_sync(self._bridges.clear, {each.name for each in kept.values()})

    async def run_one(self, kept: Kept) -> None:
        state = self._bridges.states[kept.key] = BridgeState(kept.name)

        async def serve() -> None:
            want = await anyio.to_thread.run_sync(self._wanted, kept)
            queue = await anyio.to_thread.run_sync(self._opened, kept, want)
            await self._hold(kept, want, queue, state)

        try:
            await run_anew(serve, partial(self._note, state), self._clock)
        finally:
            self._bridges.states.pop(kept.key, None)

    def _opened(self, kept: Kept, want: Wanted) -> Queue:
        self._bridges.begin(kept.key, kept.name)
        return open_queue(self._bridges.queue_path(kept.name), bounds_of(want), self._clock)

    async def _hold(self, kept: Kept, want: Wanted, queue: Queue, state: BridgeState) -> None:
        """Take readings into the queue, and pass on what is in it, whatever becomes of the latter; ends for a damaged queue,
        which is set aside when it is opened again."""
        relay: Relay | None = None

        def took(way: Way, stand: Stand) -> None:
            if relay is not None:
                relay.put(way, stand)

        async def serve() -> None:
            nonlocal relay
            plan = await anyio.to_thread.run_sync(plan_of, want, kept.name, self._place, kept.materials)
            relay = Relay(plan, queue, state, self._clock, self._bridges.files.on_change)
            await (await anyio.to_thread.run_sync(self._runner, relay, plan, want))()

        try:
            feed = self._feed(want, queue, took)
            await anyio.to_thread.run_sync(feed.adopt)
            if any(each.of_readings for each in want.out):
                self._tee.open(kept.key, feed)
            await run_anew(serve, partial(self._note, state), self._clock, until="Damaged")
        finally:
            self._tee.close(kept.key)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(queue.close)

    def _note(self, state: BridgeState, error: HoldfastError) -> None:
        state.problem = f"{error.reason}: {error.message}"
        self._bridges.files.on_change()

    def _feed(self, want: Wanted, queue: Queue, took: Callable[[Way, Stand], None]) -> Feed:
        packed, namespace = want.spec.preset == "sparkplug", want.spec.values.get("namespace", "")
        return Feed(want.out, queue, took, namespace=namespace, product=want.spec.broker, packed=packed)

    def _wanted(self, kept: Kept) -> Wanted:
        try:
            return bridge.at_site(kept.spec, kept.name, self._place)
        except WireError as error:
            raise PermanentError(error.message, reason=error.reason, hint=error.hint) from None

    def _runner(self, relay: Relay, plan: Plan, want: Wanted) -> Callable[[], Awaitable[None]]:
        if want.spec.preset != "sparkplug":
            return partial(relay.run, self._dial)
        from holdfast_edge.ingest.edge_node import EdgeNodeGiving

        giving = EdgeNodeGiving(relay, plan, want, self._clock, self._place)
        return partial(relay.run, self._dial, giving=giving, remote=giving.options)
