"""Assembly: a site's loops' parts, put together over one database."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.core import transaction
from holdfast_edge.core.deferral import NotNow
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.report import Origin
from holdfast_edge.core.transaction import Limits, Now
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asker import Asker
from holdfast_edge.reconcile.dead_man import DeadMan, Safety
from holdfast_edge.reconcile.evaluation import Evaluation
from holdfast_edge.reconcile.executor import AT_ONCE, Executor
from holdfast_edge.reconcile.gatekeeper import Gatekeeper
from holdfast_edge.reconcile.observe import Observer
from holdfast_edge.reconcile.policing import Policing
from holdfast_edge.reconcile.preparer import Preparer
from holdfast_edge.reconcile.rebooter import Rebooter, Restarting
from holdfast_edge.reconcile.site import Site
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.board import Board
from holdfast_edge.store.chances import Chances
from holdfast_edge.store.edge import Opened, begin_anew, open_edge
from holdfast_edge.store.holds import Holds
from holdfast_edge.store.journal import Journal
from holdfast_edge.store.memory import Memory
from holdfast_edge.store.notices import Notices
from holdfast_edge.store.overrides import Overrides
from holdfast_edge.store.owned import OwnedThings
from holdfast_edge.store.reboots import Reboots
from holdfast_edge.store.targets import Targets, Trust
from holdfast_edge.store.transactions import Transactions
from holdfast_edge.store.trials import Trials
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.messages import Quality

NOT_NOW: Final = NotNow()


class Pace(msgspec.Struct, frozen=True):
    """In seconds: the periodic look, the deadlines of one provider's look and one change, those of a new target; and how many
    changes are under way, and as many being prepared."""

    look_every: float = 30.0
    observe_within: float = 20.0
    change_within: float = 300.0
    limits: Limits = Limits()
    at_once: int = AT_ONCE


def _unknown() -> Quality:
    return "unknown"


@dataclass(frozen=True)
class Given:
    """What a site's loops get from around. `folder` holds their state; `jitter`: random in 0..1; `quality`: of the clock;
    `safety` None: nothing is made on trial; `restarting` None: nobody asks for restarts."""

    folder: Path
    origin: Origin
    trust: Trust
    registry: Registry
    clock: Clock
    pace: Pace
    jitter: Callable[[], float]
    not_now: NotNow = NOT_NOW
    quality: Callable[[], Quality] = _unknown
    safety: Safety | None = None
    restarting: Restarting | None = None

    def moment(self) -> Moment:
        return Moment(self.clock.wall(), self.clock.boottime(), self.origin.boot_id)


def assemble(given: Given) -> Site:
    """Open what the folder holds and close what a kill interrupted. Blocks.

    A database whose content is damaged is set aside like one whose file is; raises what `open_edge` does.
    """
    opened = open_edge(given.folder)
    try:
        return _built(opened, given)
    except PermanentError as error:
        opened.database.close()
        if error.reason != "Damaged":
            raise
        return _built(begin_anew(opened.database.path, error), given)


def _built(opened: Opened, given: Given) -> Site:
    registry, clock, pace, boot_id = given.registry, given.clock, given.pace, given.origin.boot_id
    database = opened.database
    owned, attempts = OwnedThings(database, given.folder), Attempts(database)
    journal = Journal(database, owned, attempts)
    wakes = Wakes(clock)
    memory = Memory(database)
    remembered, life = memory.load()
    interrupted = journal.interrupted(at=int(clock.wall() * 1000))
    targets = Targets(database, given.folder, given.trust)
    transactions = Transactions(database, given.folder, targets)
    if transactions.current is not None:
        now = Now(clock.boottime(), boot_id, pace.limits, protects=False)
        transactions.current = transaction.resumed(transactions.current, now, interrupted=bool(interrupted))
    keeper = Gatekeeper(
        Chances(database),
        Asker(clock, given.not_now.commands, within=given.not_now.ask_within_s, wake=wakes.wake),
        given.not_now,
        given.quality,
    )
    board = Board()
    dead_man = (
        None
        if given.safety is None
        else DeadMan(
            given.safety,
            registry,
            journal,
            lambda: owned.things,
            Trials(given.folder),
            board,
            clock,
            boot_id,
            deadline=pace.change_within,
            wake=wakes.wake,
        )
    )
    return Site(
        database=database,
        origin=given.origin,
        clock=clock,
        wakes=wakes,
        targets=targets,
        transactions=transactions,
        owned=owned,
        attempts=attempts,
        journal=journal,
        holds=Holds(database),
        overrides=Overrides(database),
        memory=memory,
        notices=Notices(database),
        board=board,
        observer=Observer(registry, deadline=pace.observe_within),
        evaluation=Evaluation(registry, wakes.wake, deadline=pace.observe_within),
        policing=Policing(deadline=pace.observe_within),
        executor=Executor(
            registry,
            journal,
            attempts,
            clock,
            boot_id,
            jitter=given.jitter,
            deadline=pace.change_within,
            wake=wakes.wake,
            at_once=pace.at_once,
            dead_man=dead_man,
        ),
        dead_man=dead_man,
        rebooter=None if given.restarting is None else Rebooter(Reboots(database), given.restarting, given.moment()),
        gatekeeper=keeper,
        preparer=Preparer(
            registry,
            clock,
            jitter=given.jitter,
            deadline=pace.limits.prepare,
            wake=wakes.wake,
            shut=keeper.shut,
            at_once=pace.at_once,
        ),
        look_every=pace.look_every,
        limits=pace.limits,
        damage=(opened.damage,) if opened.damage else (),
        interrupted=interrupted,
        remembered=remembered,
        life=life,
    )
