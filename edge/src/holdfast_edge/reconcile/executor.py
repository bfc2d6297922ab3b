"""Executor: carries out changes, one lane for each provider, so that a slow pull holds up no file.

A change is: check, intent in the journal, effect with a deadline, outcome. Lanes run beside the loop; a lane's batch
belongs to one target, and a newer target ends it; what the last look does not allow any more (a hold, a window that closed) is
not begun. [inv: intent-before-effect, newer-target-cancels-retries]
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import anyio
import anyio.abc
import msgspec

from holdfast_edge.core import attempts
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.order import Dependencies
from holdfast_edge.core.steps import Change, Remove, Update, digest_of
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.dead_man import DeadMan
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.journal import Journal
from holdfast_protocol.errors import ProviderError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.names import ResourceKey

AT_ONCE: Final = 16  # changes under way, when nobody says otherwise
OVERDUE: Final = 30.0  # seconds after its deadline in which a change that can be ended has ended
STORE_REST: Final = 5.0  # seconds without changes after the disk refused to keep an intent


class Batch(msgspec.Struct, frozen=True):
    """Changes of one plan and what they may refer to. `target` is the digest of the target they belong to."""

    target: str
    changes: tuple[Change, ...]
    scope: Scope
    graph: Dependencies
    ends: Mapping[ResourceKey, float] = {}  # when a change may no longer begin, in seconds since boot; absent: no end


class _Lane:
    def __init__(self, batch: Batch, changes: Sequence[Change]) -> None:
        self.batch = batch
        self.left = [change.key for change in changes]
        self.may_begin = frozenset(self.left)  # as of the last look
        self.ends = batch.ends
        # What is being changed, and since when, in seconds since boot.
        self.under_way: tuple[ResourceKey, float] | None = None
        self.scope = anyio.CancelScope()


class Executor:
    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        held: Attempts,
        clock: Clock,
        boot_id: str,
        *,
        jitter: Callable[[], float],
        deadline: float,
        wake: Callable[[], None],
        at_once: int = AT_ONCE,
        dead_man: DeadMan | None = None,
    ) -> None:
        """`jitter` returns a random number in 0..1; `deadline` is in seconds for one change; `at_once`: changes under way;
        `dead_man` None: nothing is made on trial."""
        self._dead_man = dead_man
        self._registry = registry
        self._journal = journal
        self._attempts = held
        self._clock = clock
        self._boot_id = boot_id
        self._jitter = jitter
        self._deadline = deadline
        self._wake = wake
        self._turns = anyio.CapacityLimiter(at_once)
        self._lanes: dict[int, _Lane] = {}
        self._rests_until = 0.0
        self.ended = 0  # changes, since the start
        self._fresh: dict[ResourceKey, int] = {}  # the number of each that ended since the last look began
        self.trouble = ""  # why nothing can be recorded, and so nothing is done; "": nothing wrong

    @property
    def running(self) -> frozenset[ResourceKey]:
        """Return what is in a lane: being changed, or next."""
        return frozenset(key for lane in self._lanes.values() for key in lane.left)

    def stuck(self, keys: Iterable[ResourceKey]) -> dict[ResourceKey, ResourceKey]:
        """Return which of these have no turn, for a change in their lane that neither ended in its time nor can be ended (a
        write to a dead network share), with that change."""
        latest = self._clock.boottime() - self._deadline - OVERDUE
        found = {
            number: lane.under_way[0]
            for number, lane in self._lanes.items()
            if lane.under_way is not None and lane.under_way[1] < latest
        }
        if not found:
            return {}
        return {key: by for key in keys if (by := found.get(id(self._registry.provider(key)))) is not None}

    def start(self, group: anyio.abc.TaskGroup, batch: Batch, seen: int) -> None:
        """Give the batch's changes to the lanes that are free, after ending those that work for another target.

        `seen` is how many had `ended` when the look behind the batch began: what ended since looked otherwise then.
        """
        self._fresh = {key: number for key, number in self._fresh.items() if number > seen}
        for lane in self._lanes.values():
            if lane.batch.target != batch.target:
                lane.scope.cancel()
            lane.may_begin, lane.ends = frozenset(change.key for change in batch.changes), batch.ends
        if self._clock.boottime() < self._rests_until:
            return
        shares: dict[int, tuple[Provider, list[Change]]] = {}
        for change in batch.changes:
            if change.key in self._fresh:  # its end has woken the loop: the next look sees it
                continue
            provider = self._registry.provider(change.key)
            shares.setdefault(id(provider), (provider, []))[1].append(change)
        for number, (provider, changes) in shares.items():
            if number not in self._lanes:
                self._lanes[number] = lane = _Lane(batch, changes)
                group.start_soon(self._run_lane, number, lane, provider, changes)

    async def _run_lane(self, number: int, lane: _Lane, provider: Provider, changes: Sequence[Change]) -> None:
        try:
            with lane.scope:
                for change in changes:
                    async with self._turns:
                        if change.key in lane.may_begin and self._clock.boottime() < lane.ends.get(
                            change.key, math.inf
                        ):
                            lane.under_way = (change.key, self._clock.boottime())
                            await self._execute(change, provider, lane.batch)
                            lane.under_way = None
                            self.ended += 1
                            self._fresh[change.key] = self.ended
                    lane.left.remove(change.key)
            self.trouble = ""
        except TransientError as error:  # of the journal: without a kept intent there is no effect
            self.trouble = f"{error.reason}: changes cannot be recorded: {error.message}"
            self._rests_until = self._clock.boottime() + STORE_REST
        finally:
            del self._lanes[number]
            self._wake()

    async def _execute(self, change: Change, provider: Provider, batch: Batch) -> None:
        try:
            await asked(self._checked(change, batch.scope), within=self._deadline, phase="check")
        except ProviderError as error:
            await self._journal.refuse(self._failed(change, error))
            return
        number = await self._journal.begin(change, batch.graph, at=self._now_ms())
        try:
            await asked(
                self._made(change, provider, batch.scope),
                within=self._deadline,
                phase=type(change).__name__.lower(),
                resource=change.key,
            )
        except ProviderError as error:
            await self._journal.end(number, change, self._failed(change, error), None, at=self._now_ms())
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), contextlib.suppress(TransientError):
                await self._journal.cancelled(number, at=self._now_ms())
            raise
        else:
            await self._journal.end(number, change, self._done(change), _left(change, batch), at=self._now_ms())

    async def _checked(self, change: Change, scope: Scope) -> None:
        if self._dead_man is not None:
            self._dead_man.refuse(change)
        if not isinstance(change, Remove):
            self._registry.check(change.resource, scope)

    async def _made(self, change: Change, provider: Provider, scope: Scope) -> None:
        if self._dead_man is None:
            await _effect(change, provider, scope)
            return
        await self._dead_man.arm(change)
        whole = False
        try:
            await _effect(change, provider, scope)
            whole = True
        finally:
            with anyio.CancelScope(shield=True):
                await self._dead_man.made(change, whole=whole)

    def _failed(self, change: Change, error: ProviderError) -> attempts.Attempt:
        return attempts.failed(
            self._attempts.held.get(change.key),
            change.key,
            digest_of(change),
            error,
            now=self._clock.boottime(),
            boot_id=self._boot_id,
            jitter=self._jitter(),
        )

    def _done(self, change: Change) -> attempts.Attempt:
        return attempts.done(
            self._attempts.held.get(change.key),
            change.key,
            digest_of(change),
            now=self._clock.boottime(),
            boot_id=self._boot_id,
            jitter=self._jitter(),
            differences=change.differences if isinstance(change, Update) else ("it was gone",),
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def _effect(change: Change, provider: Provider, scope: Scope) -> None:
    if isinstance(change, Remove):
        await provider.remove(change.key, change.body)
    else:
        await provider.apply(change.resource, scope)


def _left(change: Change, batch: Batch) -> Owned | None:
    if isinstance(change, Remove):
        return None
    one = change.resource
    return Owned(one.body, one.digest, batch.graph.get(change.key, ()), one.instance, one.id)
