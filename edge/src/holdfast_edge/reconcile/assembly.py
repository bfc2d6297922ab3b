"""Assembly: a site's loops' parts, put together over one database."""

from collections.abc import Callable
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


def assemble(
    folder: Path,
    origin: Origin,
    trust: Trust,
    registry: Registry,
    clock: Clock,
    pace: Pace,
    jitter: Callable[[], float],
    not_now: NotNow = NOT_NOW,
    quality: Callable[[], Quality] = _unknown,
    safety: Safety | None = None,
    restarting: Restarting | None = None,
) -> Site:
    """Open what `folder` holds and close what a kill interrupted. `jitter`: random in 0..1; `quality`: of the clock;
    `safety` None: nothing is made on trial; `restarting` None: nobody asks for restarts. Blocks.

    A database whose content is damaged is set aside like one whose file is; raises what `open_edge` does.
    """
    opened = open_edge(folder)

    def built() -> Site:
        return _built(
            opened, folder, origin, trust, registry, clock, pace, jitter, not_now, quality, safety, restarting
        )

    try:
        return built()
    except PermanentError as error:
        opened.database.close()
        if error.reason != "Damaged":
            raise
        opened = begin_anew(opened.database.path, error)
        return built()


def _built(
    opened: Opened,
    folder: Path,
    origin: Origin,
    trust: Trust,
    registry: Registry,
    clock: Clock,
    pace: Pace,
    jitter: Callable[[], float],
    not_now: NotNow = NOT_NOW,
    quality: Callable[[], Quality] = _unknown,
    safety: Safety | None = None,
    restarting: Restarting | None = None,
) -> Site:
    database = opened.database
    owned, attempts = OwnedThings(database, folder), Attempts(database)
    journal = Journal(database, owned, attempts)
    wakes = Wakes(clock)
    memory = Memory(database)
    remembered, life = memory.load()
    interrupted = journal.interrupted(at=int(clock.wall() * 1000))
    targets = Targets(database, folder, trust)
    transactions = Transactions(database, folder, targets)
    if transactions.current is not None:
        now = Now(clock.boottime(), origin.boot_id, pace.limits, protects=False)
        transactions.current = transaction.resumed(transactions.current, now, interrupted=bool(interrupted))
    keeper = Gatekeeper(
        Chances(database),
        Asker(clock, not_now.commands, within=not_now.ask_within_s, wake=wakes.wake),
        not_now,
        quality,
    )
    board, moment = Board(), Moment(clock.wall(), clock.boottime(), origin.boot_id)
    dead_man = (
        None
        if safety is None
        else DeadMan(
            safety,
            registry,
            journal,
            lambda: owned.things,
            Trials(folder),
            board,
            clock,
            origin.boot_id,
            deadline=pace.change_within,
            wake=wakes.wake,
        )
    )
    return Site(
        database=database,
        origin=origin,
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
            origin.boot_id,
            jitter=jitter,
            deadline=pace.change_within,
            wake=wakes.wake,
            at_once=pace.at_once,
            dead_man=dead_man,
        ),
        dead_man=dead_man,
        rebooter=None if restarting is None else Rebooter(Reboots(database), restarting, moment),
        gatekeeper=keeper,
        preparer=Preparer(
            registry,
            clock,
            jitter=jitter,
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
