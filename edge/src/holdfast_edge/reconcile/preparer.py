"""Preparer: fetches and tries what a new target changes, one lane for each provider, while the machine stays as it is.

Beside the loop, which it wakes when there is news. Forgets everything at a restart: `prepare` is cheap when done before.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import anyio
import anyio.abc

from holdfast_edge.core import attempts
from holdfast_edge.core.order import Dependencies
from holdfast_edge.core.transaction import Tried
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.executor import AT_ONCE
from holdfast_protocol.errors import ProviderError, TransientError, UnsupportedError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Cause
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

FETCHING: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Pod", "Job", "CronJob", "Package"})
WINDOW: Final = "DownloadWindow"
WINDOW_AGAIN: Final = 30.0  # seconds until a window is asked again


class _Work:
    """What is tried for one target."""

    def __init__(self, lanes: int) -> None:
        self._scopes: list[anyio.CancelScope] = []  # one a lane: each is entered by one task only
        self._stopped = False
        self.done = anyio.Event()
        self.refusal: Cause | None = None
        self.troubles: dict[ResourceKey, Cause] = {}
        self._lanes = lanes
        if lanes == 0:
            self.done.set()

    def lane(self) -> anyio.CancelScope:
        """Return what a lane runs in, and ends with the rest."""
        scope = anyio.CancelScope()
        self._scopes.append(scope)
        if self._stopped:
            scope.cancel()
        return scope

    def stop(self) -> None:
        self._stopped = True
        for scope in self._scopes:
            scope.cancel()

    def end_lane(self) -> None:
        self._lanes -= 1
        if self._lanes == 0:
            self.done.set()

    def refuse(self, cause: Cause) -> None:
        """Note why the target can never be applied; of several, that of the first key."""
        if self.refusal is None or cause.resource < self.refusal.resource:
            self.refusal = cause


class Preparer:
    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        *,
        jitter: Callable[[], float],
        deadline: float,
        wake: Callable[[], None],
        shut: Callable[[Resource], str],
        at_once: int = AT_ONCE,
    ) -> None:
        """`jitter` returns a random number in 0..1; `deadline` is in seconds for one resource; `shut` says why nothing
        may be fetched for a resource now, "" when it may; `at_once`: resources being prepared."""
        self._registry = registry
        self._clock = clock
        self._jitter = jitter
        self._deadline = deadline
        self._wake = wake
        self._shut = shut
        self._turns = anyio.CapacityLimiter(at_once)
        self._work: _Work | None = None

    def start(
        self,
        group: anyio.abc.TaskGroup,
        resources: Sequence[Resource],
        scope: Scope,
        graph: Dependencies,
        *,
        checked: bool,
    ) -> None:
        """Begin with these, after ending what was begun for another target. `checked`: ask `check` first."""
        self.stop()
        changed = frozenset(each.key for each in resources)
        shares: dict[int, tuple[Provider, list[Resource]]] = {}
        for resource in resources:
            provider = self._registry.provider(resource.key)
            shares.setdefault(id(provider), (provider, []))[1].append(resource)
        self._work = work = _Work(len(shares))
        for provider, share in shares.values():
            # What comes after something that changes too may lack only that: it is judged at its turn.
            early = {each.key for each in share if changed & set(graph.get(each.key, ()))}
            group.start_soon(self._run_lane, work, provider, share, scope, early, checked)

    def stop(self) -> None:
        """End what is under way."""
        if self._work is not None:
            self._work.stop()
            self._work = None

    def tried(self) -> Tried:
        """Return how far it is."""
        work = self._work
        if work is None:
            return Tried(done=False)
        trouble = work.troubles[min(work.troubles)] if work.troubles else None
        waits = bool(work.troubles) and all(each.reason == WINDOW for each in work.troubles.values())
        return Tried(work.done.is_set(), work.refusal, trouble, waits)

    async def settle(self, within: float) -> None:
        """Wait for the end, so many seconds at most: most targets need no fetching, and one look is enough for them."""
        if self._work is not None:
            with anyio.move_on_after(within):
                await self._work.done.wait()

    async def _run_lane(
        self,
        work: _Work,
        provider: Provider,
        share: Sequence[Resource],
        scope: Scope,
        early: Collection[ResourceKey],
        checked: bool,
    ) -> None:
        with work.lane():
            left, turn = list(share), 0
            while left:
                again, after = [], 0.0
                for resource in left:
                    async with self._turns:
                        trouble = await self._try(work, provider, resource, scope, early, checked)
                    if trouble is not None:
                        again.append(resource)
                        after = max(after, trouble.after)
                if left := again:
                    turn += 1
                    self._wake()
                    await self._clock.sleep(max(attempts.backoff(turn, self._jitter()), after))
            work.end_lane()
            self._wake()

    async def _try(
        self,
        work: _Work,
        provider: Provider,
        resource: Resource,
        scope: Scope,
        early: Collection[ResourceKey],
        checked: bool,
    ) -> TransientError | None:
        """Return why a resource must be tried again, None when it is prepared or will not be."""
        if resource.kind in FETCHING and (why := self._shut(resource)):
            shut = TransientError(why, after=WINDOW_AGAIN, reason=WINDOW)
            work.troubles[resource.key] = _cause(resource, shut)
            return shut
        work.troubles.pop(resource.key, None)
        try:
            await asked(
                self._prepared(provider, resource, scope, checked),
                within=self._deadline,
                phase="prepare",
                resource=resource.key,
            )
        except TransientError as error:
            work.troubles[resource.key] = _cause(resource, error)
            return error
        except UnsupportedError:
            return None  # kept, reported at its turn, and holds up nothing
        except ProviderError as error:
            if resource.key not in early:
                work.refuse(_cause(resource, error))
                self._wake()
        return None

    async def _prepared(self, provider: Provider, resource: Resource, scope: Scope, checked: bool) -> None:
        if checked:
            self._registry.check(resource, scope)
        await provider.prepare(resource, scope)


def _cause(resource: Resource, error: ProviderError) -> Cause:
    return Cause("prepare", resource.key, error.reason, error.message[: attempts.MAX_TEXT], error.hint)
