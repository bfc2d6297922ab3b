"""Site: everything the loops share, put together once by the agent."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import msgspec

from holdfast_edge.core import order
from holdfast_edge.core.attempts import Due
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.lifecycle import Life
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.report import Origin
from holdfast_edge.core.steps import Step
from holdfast_edge.reconcile.executor import Executor
from holdfast_edge.reconcile.observe import Observer
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.board import Board
from holdfast_edge.store.holds import Holds
from holdfast_edge.store.journal import Entry
from holdfast_edge.store.memory import Memory
from holdfast_edge.store.notices import Notices
from holdfast_edge.store.owned import OwnedThings
from holdfast_edge.store.targets import Targets
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.messages import Condition, Hold, Status
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, Target


class Goal(msgspec.Struct, frozen=True):
    """A target, indexed: made once for each."""

    target: Target
    wanted: dict[ResourceKey, Resource]
    graph: order.Dependencies


class View(msgspec.Struct, frozen=True):
    """One look: what was wanted and seen, and what follows from it. `goal` is None before the first target."""

    goal: Goal | None
    observed: dict[ResourceKey, Observed]
    blind: dict[ResourceKey, Condition]
    holds: tuple[Hold, ...]
    plan: tuple[Step, ...]
    due: Due


class Records(Protocol):
    """The outbox, as far as the ladder needs it."""

    async def append_records(self, stream: Any, records: Any, *, keys: Any = None) -> None: ...


@dataclass
class Site:
    database: Database  # of all the stores here; whoever assembled the site closes it
    origin: Origin
    clock: Clock
    wakes: Wakes
    targets: Targets
    owned: OwnedThings
    attempts: Attempts
    holds: Holds
    memory: Memory
    notices: Notices
    board: Board
    observer: Observer
    executor: Executor
    look_every: float  # seconds between looks that nothing asked for
    soak: float  # seconds of converged and ready before a target is last-good
    damage: tuple[str, ...] = ()  # found at start and repaired, for a person to know
    interrupted: tuple[Entry, ...] = ()  # begun before the start and not ended: looked at like everything else
    life: Life = field(default_factory=Life)  # of the last target, as the ladder left it before the start
    remembered: Status | None = None  # said before the start; for comparison, the board begins empty
    view: View | None = None
    _viewed: anyio.Event = field(default_factory=anyio.Event)
    _goal: Goal | None = None
    _viewed_at: float = 0.0

    def __post_init__(self) -> None:
        self._viewed_at = self.clock.boottime()

    def moment(self) -> Moment:
        return Moment(self.clock.wall(), self.clock.boottime(), self.origin.boot_id)

    def goal(self) -> Goal | None:
        """Return the current target, indexed; None before the first."""
        target = self.targets.current
        if target is None:
            return None
        if self._goal is None or self._goal.target is not target:
            resources = target.content.resources
            self._goal = Goal(target, {each.key: each for each in resources}, order.dependencies(resources))
        return self._goal

    def show(self, view: View) -> None:
        self.view, self._viewed_at = view, self.clock.boottime()
        self._viewed.set()
        self._viewed = anyio.Event()

    def is_looking(self) -> bool:
        """Return whether the loop turns: at the latest a long look and its rest after the periodic one was due."""
        return self.clock.boottime() - self._viewed_at < 3 * self.look_every + 60

    async def fresh_view(self) -> View:
        """Ask for a look and return one that began after this call."""
        for _ in range(2):  # the one under way may have begun before
            shown = self._viewed
            self.wakes.wake()
            await shown.wait()
        assert self.view is not None
        return self.view
