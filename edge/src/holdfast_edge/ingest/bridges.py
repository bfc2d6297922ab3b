"""One loop a bridge: begun, ended and begun anew as the wanted bridges change; one that fails is tried again, alone."""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

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
from holdfast_protocol.runtime.link import LONGEST, Backoff
from holdfast_protocol.runtime.mqtt import Dial
from holdfast_protocol.wire.names import ResourceKey

CHANCE: Final = 1.0  # of the longest wait: loops of one node need no jitter


async def run_bridges(bridges: Bridges, dial: Dial, tee: Tee, clock: Clock, place: Place) -> None:
    """Run a loop for each wanted bridge until cancelled; `place` is this node, `tee` where readings come by."""
    await _Supervisor(bridges, dial, tee, clock, place).run()


class _Supervisor:
    def __init__(self, bridges: Bridges, dial: Dial, tee: Tee, clock: Clock, place: Place) -> None:
        self._bridges = bridges
        self._dial = dial
        self._tee = tee
        self._clock = clock
        self._place = place
        self._running: dict[ResourceKey, tuple[str, anyio.CancelScope, anyio.Event]] = {}  # digest, scope, ended

    async def run(self) -> None:
        files = self._bridges.files
        await anyio.to_thread.run_sync(lambda: files.kept)
        async with anyio.create_task_group() as group:
            while True:
                revision = files.revision
                kept = dict(files.kept)
                await self._end(kept)
                await anyio.to_thread.run_sync(self._clear, {each.name for each in kept.values()})
                for key, each in kept.items():
                    if key not in self._running:
                        scope, ended = anyio.CancelScope(), anyio.Event()
                        self._running[key] = (each.digest, scope, ended)
                        group.start_soon(self._run_one, each, scope, ended)
                await files.changed(revision)

    async def _end(self, kept: dict[ResourceKey, Kept]) -> None:
        """End loops that are wanted no longer, or otherwise; each has let go of its queue on return."""
        for key, (digest, scope, ended) in list(self._running.items()):
            if key not in kept or kept[key].digest != digest:
                scope.cancel()
                await ended.wait()
                del self._running[key]
                self._bridges.states.pop(key, None)

    def _clear(self, names: set[str]) -> None:
        """Delete the queues of bridges that are wanted no more, and all that waits in them.

        While a file of what is wanted cannot be read, any of them may be wanted."""
        if not self._bridges.folder.is_dir() or not self._bridges.files.is_whole:
            return
        for path in self._bridges.folder.iterdir():
            if path.is_file() and path.name.partition(".")[0] not in names:
                with contextlib.suppress(OSError):  # it is tried again with the next change
                    path.unlink(missing_ok=True)

    async def _run_one(self, kept: Kept, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        state = self._bridges.states[kept.key] = BridgeState(kept.name)
        try:
            with scope:
                await self._run_anew(kept, state)
        finally:
            ended.set()

    async def _run_anew(self, kept: Kept, state: BridgeState) -> None:
        backoff, clock = Backoff(), self._clock
        while True:
            try:
                want = await anyio.to_thread.run_sync(self._wanted, kept)
                path, bounds = self._bridges.queue_path(kept.name), bounds_of(want)
                queue = await anyio.to_thread.run_sync(open_queue, path, bounds, clock)
                await self._hold(kept, want, queue, state)
            except* HoldfastError as group:
                self._note(state, group)
            await clock.sleep(backoff.wait("", CHANCE, clock.boottime()))

    async def _hold(self, kept: Kept, want: Wanted, queue: Queue, state: BridgeState) -> None:
        """Take readings into the queue, and pass on what is in it, whatever becomes of the latter."""
        backoff, clock = Backoff(), self._clock
        relay: Relay | None = None

        def took(way: Way, stand: Stand) -> None:
            if relay is not None:
                relay.put(way, stand)

        try:
            if any(each.of_readings for each in want.out):
                self._tee.open(kept.key, self._feed(want, queue, took))
            broken = False
            while True:
                began = clock.boottime()
                try:
                    plan = await anyio.to_thread.run_sync(plan_of, want, kept.name, self._place, kept.materials)
                    relay = Relay(plan, queue, state, clock, self._bridges.files.on_change)
                    await (await anyio.to_thread.run_sync(self._runner, relay, plan, want))()
                except* HoldfastError as group:
                    broken = self._note(state, group) == "Damaged"
                if broken:
                    return  # it is set aside when it is opened again
                if clock.boottime() - began > LONGEST:
                    backoff.reset()
                await clock.sleep(backoff.wait("", CHANCE, clock.boottime()))
        finally:
            self._tee.close(kept.key)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(queue.close)

    def _note(self, state: BridgeState, group: BaseExceptionGroup[HoldfastError]) -> str:
        """Show what is wrong and return its reason."""
        error = _first(group)
        state.problem = f"{error.reason}: {error.message}"
        self._bridges.files.on_change()
        return error.reason

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


def _first(group: BaseExceptionGroup[HoldfastError]) -> HoldfastError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, HoldfastError)
    return error
