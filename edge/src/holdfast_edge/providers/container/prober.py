"""The prober: keeps asking the probes of everything that runs, and wakes the loop when an answer changes something."""

import math
from typing import Final

import anyio
import anyio.abc

from holdfast_edge.providers.container.asking import Asker, Subject
from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.container.probes import ProbeKind, Probes, Restarts, Run, Verdict
from holdfast_edge.providers.port import Wake
from holdfast_protocol.kinds.pods.podspec import Probe
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.names import ResourceKey

MAX_AT_ONCE: Final = 8  # probes in flight
IDLE_S: Final = 3_600.0


class _Followed:
    def __init__(self, name: str, started_at: float, subject: Subject, run: Run) -> None:
        self.name = name
        self.started_at = started_at
        self.subject = subject
        self.run = run


class Prober:
    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._asker = Asker(engine)
        self._clock = clock
        self._followed: dict[ResourceKey, dict[str, _Followed]] = {}
        self._restarts: dict[ResourceKey, dict[str, Restarts]] = {}
        self._alarms: dict[ResourceKey, float] = {}
        self._changed = anyio.Event()
        self._limiter = anyio.CapacityLimiter(MAX_AT_ONCE)

    def follow(self, key: ResourceKey, name: str, started_at: float, subject: Subject, probes: Probes) -> Verdict:
        """Ask `probes` of this start of a container from now on, and return what is known. `started_at`: wall clock."""
        followed = self._followed.setdefault(key, {})
        one = followed.get(subject.id)
        now = self._clock.boottime()
        if one is None or one.started_at != started_at:
            elapsed = max(0.0, self._clock.wall() - started_at)
            one = followed[subject.id] = _Followed(name, started_at, subject, Run(probes, now - elapsed))
            self._changed.set()
        one.subject = subject
        if one.run.use(probes):
            self._changed.set()
        return self._verdict(key, one)

    def known(self, key: ResourceKey, container: str, started_at: float) -> Verdict | None:
        """Return what is known of a start by the probes it was followed with; None for one never followed."""
        one = self._followed.get(key, {}).get(container)
        return self._verdict(key, one) if one is not None and one.started_at == started_at else None

    def _verdict(self, key: ResourceKey, one: _Followed) -> Verdict:
        if one.run.alive:
            return Verdict(one.run.ready, one.run.was_ready, why=one.run.why)
        now = self._clock.boottime()
        restart_at = self._restarts_of(key, one.name).due_at(now)
        if restart_at > now:
            self.remind(key, restart_at - now)
        return Verdict(False, one.run.was_ready, restart_at, one.run.why)

    def keep_only(self, key: ResourceKey, ids: set[str]) -> None:
        """Stop asking the other containers of a resource."""
        followed = self._followed.get(key, {})
        kept = {each: one for each, one in followed.items() if each in ids}
        for gone in followed.keys() - kept.keys():
            self._asker.forget(gone)
        if kept:
            self._followed[key] = kept
            return
        self._followed.pop(key, None)
        self._alarms.pop(key, None)

    def keep_resources(self, keys: set[ResourceKey]) -> None:
        """Forget the resources that nobody wants any more."""
        for key in [*self._followed, *self._alarms]:
            if key not in keys:
                self.keep_only(key, set())
        self._restarts = {key: restarts for key, restarts in self._restarts.items() if key in keys}

    def note_restart(self, key: ResourceKey, name: str) -> None:
        """A container is about to be restarted because of its probes."""
        self._restarts_of(key, name).note(self._clock.boottime())

    def _restarts_of(self, key: ResourceKey, name: str) -> Restarts:
        return self._restarts.setdefault(key, {}).setdefault(name, Restarts())

    def remind(self, key: ResourceKey, seconds: float) -> None:
        """Wake the loop then, because time alone will change how a resource is judged."""
        at = self._clock.boottime() + seconds
        if at < self._alarms.get(key, math.inf):
            self._alarms[key] = at
            self._changed.set()

    async def run(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            while True:
                self._changed = anyio.Event()
                now = self._clock.boottime()
                for key, at in list(self._alarms.items()):
                    if at <= now:
                        del self._alarms[key]
                        wake()
                next_at = min(self._alarms.values(), default=now + IDLE_S)
                for followed in list(self._followed.values()):
                    for one in followed.values():
                        for kind, probe in one.run.due(now):
                            group.start_soon(self._ask, one, kind, probe, wake)
                        next_at = min(next_at, one.run.next_due)
                await self._pause(next_at - now)

    async def _ask(self, one: _Followed, kind: ProbeKind, probe: Probe, wake: Wake) -> None:
        async with self._limiter:
            failure = await self._asker.failure(one.subject, kind, probe)
        before = (one.run.ready, one.run.alive)
        one.run.record(kind, failure, self._clock.boottime())
        if (one.run.ready, one.run.alive) != before:
            wake()
        self._changed.set()

    async def _pause(self, seconds: float) -> None:
        async with anyio.create_task_group() as race:
            race.start_soon(self._sleep, seconds, race.cancel_scope)
            await self._changed.wait()
            race.cancel_scope.cancel()

    async def _sleep(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(max(0.0, seconds))
        scope.cancel()
