"""Site: everything the loops share, put together once by the agent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import msgspec

from holdfast_edge.core import order
from holdfast_edge.core.attempts import Due
from holdfast_edge.core.drift import lenient
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.late import Decision
from holdfast_edge.core.lifecycle import Life
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.overrides import Laid, laid_over
from holdfast_edge.core.report import Origin
from holdfast_edge.core.steps import Gated, Step
from holdfast_edge.core.transaction import BACK, Limits, is_about
from holdfast_edge.reconcile.dead_man import DeadMan
from holdfast_edge.reconcile.evaluation import Evaluation
from holdfast_edge.reconcile.executor import Executor
from holdfast_edge.reconcile.gatekeeper import Gatekeeper
from holdfast_edge.reconcile.observe import Observer
from holdfast_edge.reconcile.policing import Policing
from holdfast_edge.reconcile.preparer import Preparer
from holdfast_edge.reconcile.rebooter import Rebooter
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.board import Board
from holdfast_edge.store.holds import Holds
from holdfast_edge.store.journal import Entry, Journal
from holdfast_edge.store.memory import Memory
from holdfast_edge.store.notices import Notices
from holdfast_edge.store.overrides import Overrides
from holdfast_edge.store.owned import OwnedThings
from holdfast_edge.store.targets import Targets
from holdfast_edge.store.transactions import Transactions
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.drift import Mode
from holdfast_protocol.wire.messages import BridgeStatus, Condition, Hold, Override, Status
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, Target, work_digest


class Goal(msgspec.Struct, frozen=True):
    """A target, indexed: made once for each."""

    target: Target
    wanted: dict[ResourceKey, Resource]
    graph: order.Dependencies
    decision: Decision | None = None  # what of `wanted` is decided here; None: the target says it all
    overrides: tuple[Override, ...] = ()  # that were there when it was indexed
    laid: Laid = Laid({}, {}, {})  # what they came to: `wanted` is with them
    work: str = ""  # stands for what there is to do: the same for targets that differ in windows or holds only


class View(msgspec.Struct, frozen=True):
    """One look: what was wanted and seen, and what follows from it. `goal` is what the machine is kept at or brought to,
    `newest` the newest target; both None before the first."""

    goal: Goal | None
    newest: Goal | None
    observed: dict[ResourceKey, Observed]
    blind: dict[ResourceKey, Condition]
    holds: tuple[Hold, ...]
    plan: tuple[Step, ...]
    due: Due
    unsupported: frozenset[ResourceKey] = frozenset()  # what can never be done here, and holds up nothing
    ends: dict[ResourceKey, float] = {}  # when what is due may no longer begin, in seconds since boot; absent: no end
    restart: Step | None = None  # of the machine, as it was judged
    drifted: dict[ResourceKey, Observed] = {}  # as it is seen, of what is reported and not corrected


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
    transactions: Transactions
    owned: OwnedThings
    attempts: Attempts
    journal: Journal
    holds: Holds
    overrides: Overrides
    memory: Memory
    notices: Notices
    board: Board
    observer: Observer
    evaluation: Evaluation
    policing: Policing
    executor: Executor
    gatekeeper: Gatekeeper
    preparer: Preparer
    look_every: float  # seconds between looks that nothing asked for
    limits: Limits  # of the way to a new target
    dead_man: DeadMan | None = None  # None: nothing is made on trial
    bridges: Callable[[], tuple[BridgeStatus, ...]] = tuple  # how they do, as a status says it
    rebooter: Rebooter | None = None  # None: nobody looks whether the machine needs a restart
    damage: tuple[str, ...] = ()  # found at start and repaired, for a person to know
    interrupted: tuple[Entry, ...] = ()  # begun before the start and not ended: looked at like everything else
    life: Life = field(default_factory=Life)  # of the last target, as the ladder left it before the start
    remembered: Status | None = None  # said before the start; for comparison, the board begins empty
    view: View | None = None
    kept_back: tuple[Gated, ...] = ()  # what the newest target changes, while all of it waits for its windows
    unsaved: bool = False  # the newest status is not on the disk yet
    refused: bool = False  # the disk refused a write in this turn
    again: bool = False  # a person wants the newest target tried once more
    prepares: Goal | None = None  # what the preparer works for
    _viewed: anyio.Event = field(default_factory=anyio.Event)
    _goals: dict[int, Goal] = field(default_factory=dict)  # by identity of the target
    _viewed_at: float = 0.0
    _lenient: tuple[Goal, Target | None, dict[ResourceKey, Mode]] | None = None

    def __post_init__(self) -> None:
        self._viewed_at = self.clock.boottime()

    def moment(self) -> Moment:
        return Moment(self.clock.wall(), self.clock.boottime(), self.origin.boot_id)

    def goal(self) -> Goal | None:
        """Return the target the machine is kept at or brought to, indexed; None before the first."""
        return self._indexed(self.targets.held)

    def newest(self) -> Goal | None:
        """Return the newest accepted target, indexed; None before the first."""
        return self._indexed(self.targets.current)

    def wanted_alone(self) -> dict[ResourceKey, Resource]:
        """Return what the newest target wants, without what people here laid over it; nothing before the first."""
        newest = self.targets.current
        if newest is None:
            return {}
        decision = self.evaluation.decision(newest, self.owned.things)
        return decision.wanted if decision else {each.key: each for each in newest.content.resources}

    @property
    def is_preparing(self) -> bool:
        """Return whether the newest target is only prepared, and the machine kept as it is."""
        it, newest = self.transactions.current, self.targets.current
        return newest is not None and (it is None or it.stage == "preparing" or not is_about(it, newest))

    @property
    def goes_back(self) -> bool:
        """Return whether the machine is brought, or was brought, back from the newest target."""
        it = self.transactions.current
        return it is not None and it.stage in BACK

    def _indexed(self, target: Target | None) -> Goal | None:
        if target is None:
            return None
        goal, decision = self._goals.get(id(target)), self.evaluation.decision(target, self.owned.things)
        overrides = self.overrides.active
        if goal is None or goal.decision is not decision or goal.overrides is not overrides:
            wanted = decision.wanted if decision else {each.key: each for each in target.content.resources}
            laid = laid_over(wanted, overrides)
            graph = order.dependencies(laid.wanted.values())
            work = digest([work_digest(target.content), [each.id for each in overrides]])
            goal = Goal(target, laid.wanted, graph, decision, overrides, laid, work)
            used = (self.targets.current, self.targets.held, target)
            self._goals = {key: kept for key, kept in self._goals.items() if any(kept.target is each for each in used)}
            self._goals[id(target)] = goal
        return goal

    def lenient(self, goal: Goal) -> dict[ResourceKey, Mode]:
        """Return the resources whose drift is only reported or left alone, by what the newest target says."""
        newest = self.targets.current
        if self._lenient is None or self._lenient[0] is not goal or self._lenient[1] is not newest:
            rules = newest.content.drift if newest is not None else ()
            self._lenient = goal, newest, lenient(goal.wanted.values(), rules)
        return self._lenient[2]

    def retry(self) -> None:
        """Have the newest target tried once more, from its beginning: a person says so."""
        self.again = True
        self.wakes.wake()

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
