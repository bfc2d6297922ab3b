"""Assembly: a site's loops' parts, put together over one database."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from holdfast_edge.core.report import Origin
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.executor import Executor
from holdfast_edge.reconcile.observe import Observer
from holdfast_edge.reconcile.site import Site
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.board import Board
from holdfast_edge.store.edge import Opened, begin_anew, open_edge
from holdfast_edge.store.holds import Holds
from holdfast_edge.store.journal import Journal
from holdfast_edge.store.memory import Memory
from holdfast_edge.store.notices import Notices
from holdfast_edge.store.owned import OwnedThings
from holdfast_edge.store.targets import Targets, Trust
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.runtime.clock import Clock


class Pace(msgspec.Struct, frozen=True):
    """All in seconds: the periodic look, the soak, and the deadlines of one provider's look and one change."""

    look_every: float = 30.0
    soak: float = 60.0
    observe_within: float = 20.0
    change_within: float = 300.0


def assemble(
    folder: Path,
    origin: Origin,
    trust: Trust,
    registry: Registry,
    clock: Clock,
    pace: Pace,
    jitter: Callable[[], float],
) -> Site:
    """Open what `folder` holds and close what a kill interrupted. `jitter`: random in 0..1. Blocks.

    A database whose content is damaged is set aside like one whose file is; raises what `open_edge` does.
    """
    opened = open_edge(folder)

    def built() -> Site:
        return _built(opened, folder, origin, trust, registry, clock, pace, jitter)

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
) -> Site:
    database = opened.database
    owned, attempts = OwnedThings(database, folder), Attempts(database)
    journal = Journal(database, owned, attempts)
    wakes = Wakes(clock)
    memory = Memory(database)
    remembered, life = memory.load()
    interrupted = journal.interrupted(at=int(clock.wall() * 1000))
    return Site(
        database=database,
        origin=origin,
        clock=clock,
        wakes=wakes,
        targets=Targets(database, folder, trust),
        owned=owned,
        attempts=attempts,
        holds=Holds(database),
        memory=memory,
        notices=Notices(database),
        board=Board(),
        observer=Observer(registry, deadline=pace.observe_within),
        executor=Executor(
            registry,
            journal,
            attempts,
            clock,
            origin.boot_id,
            jitter=jitter,
            deadline=pace.change_within,
            wake=wakes.wake,
        ),
        look_every=pace.look_every,
        soak=pace.soak,
        damage=(opened.damage,) if opened.damage else (),
        interrupted=interrupted,
        remembered=remembered,
        life=life,
    )
