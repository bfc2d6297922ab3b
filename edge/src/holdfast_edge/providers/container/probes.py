"""Probes of one start of one container: when each is due and what its results mean. Pure; times in seconds since boot."""

import math
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from holdfast_protocol.kinds.pods.podspec import Container, Probe

ProbeKind = Literal["startup", "liveness", "readiness"]
FIRST_BACKOFF_S: Final = 10.0
LONGEST_BACKOFF_S: Final = 300.0
FORGIVEN_AFTER_S: Final = 600.0  # alive this long since its restart: the count starts again


class Probes(msgspec.Struct, frozen=True):
    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None

    def __bool__(self) -> bool:
        return any((self.startup, self.liveness, self.readiness))

    def get(self, kind: ProbeKind) -> Probe | None:
        return {"startup": self.startup, "liveness": self.liveness, "readiness": self.readiness}[kind]


def probes_of(container: Container) -> Probes:
    return Probes(container.startup_probe, container.liveness_probe, container.readiness_probe)


class Verdict(msgspec.Struct, frozen=True):
    """What is known of one start of one container; `restart_at` is 0 unless a probe wants it restarted."""

    ready: bool
    was_ready: bool = False
    restart_at: float = 0.0  # seconds since boot
    why: str = ""


class Run:
    """One start of a container. `started`: its startup probe has passed. `alive` false: a probe wants it restarted."""

    def __init__(self, probes: Probes, began: float) -> None:
        self.started = probes.startup is None
        self.ready = probes.readiness is None and self.started
        self.was_ready = self.ready
        self.alive = True
        self.why = ""  # the newest failure, "" after a success
        self._probes = probes
        self._began = began
        self._due: dict[ProbeKind, float] = {}
        self._streak: dict[ProbeKind, int] = {}  # successes above 0, failures below
        self._schedule()

    def _schedule(self) -> None:
        kinds: tuple[ProbeKind, ...] = ("liveness", "readiness") if self.started else ("startup",)
        for kind in kinds:
            probe = self._probes.get(kind)
            if probe is not None:
                self._due.setdefault(kind, self._began + probe.initial_delay_seconds)

    def use(self, probes: Probes) -> bool:
        """Take changed probes, keeping what is known; return whether they are other ones."""
        if probes == self._probes:
            return False
        self._probes = probes
        self.started = self.started or probes.startup is None
        if self.started and probes.readiness is None:
            self.ready = self.was_ready = True
        self._due = {kind: at for kind, at in self._due.items() if probes.get(kind) is not None}
        self._schedule()
        return True

    def due(self, now: float) -> Iterator[tuple[ProbeKind, Probe]]:
        """Yield what has to be asked now; each is due again only after `record`."""
        for kind, at in list(self._due.items()):
            probe = self._probes.get(kind)
            if at <= now and probe is not None:
                self._due[kind] = math.inf
                yield kind, probe

    @property
    def next_due(self) -> float:
        return min(self._due.values(), default=math.inf)

    def record(self, kind: ProbeKind, failure: str, now: float) -> None:
        """Take a result: "" for a success, otherwise why it failed."""
        probe = self._probes.get(kind)
        if probe is None or kind not in self._due:
            return
        self._due[kind] = now + probe.period_seconds
        streak = self._streak.get(kind, 0)
        streak = min(streak, 0) - 1 if failure else max(streak, 0) + 1
        self._streak[kind] = streak
        self.why = f"{kind} probe: {failure}" if failure else ""
        if streak >= probe.success_threshold:
            self._passed(kind)
        elif -streak >= probe.failure_threshold:
            self._failed(kind)

    def _passed(self, kind: ProbeKind) -> None:
        if kind == "startup":
            self.started = True
            self._due.pop("startup")
            self._schedule()
            self.ready = self._probes.readiness is None
        elif kind == "readiness":
            self.ready = True
        self.was_ready = self.was_ready or self.ready

    def _failed(self, kind: ProbeKind) -> None:
        if kind == "readiness":
            self.ready = False
            return
        self.alive = self.ready = False
        self._due.clear()


class Restarts:
    """How often probes had one container restarted, and when the next time may be."""

    def __init__(self) -> None:
        self._count = 0
        self._last = -math.inf

    def note(self, now: float) -> None:
        if now - self._last > FORGIVEN_AFTER_S:
            self._count = 0
        self._count += 1
        self._last = now

    def due_at(self, now: float) -> float:
        """Return when a restart may be: at once for the first, 10 s after the last one for the second, then doubling."""
        if self._count == 0 or now - self._last > FORGIVEN_AFTER_S:
            return now
        return self._last + min(FIRST_BACKOFF_S * 2.0 ** min(self._count - 1, 10), LONGEST_BACKOFF_S)
