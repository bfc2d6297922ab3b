"""The hub as operations see it: one change at a time, checked whole, committed whole, then told.

`enact` is the only way anything a site should be is changed: the change is made in memory, the targets of the sites it
touches are composed, and only then is everything (rows, new generations, one audit event) written in one transaction.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec

from holdfast_hub.core.target import Composed
from holdfast_hub.link.identity import Identity
from holdfast_hub.operations.composition import Composing
from holdfast_hub.operations.fleet import Change, Fleet
from holdfast_hub.sinks.health import Health
from holdfast_hub.store import audit, blueprints, holds, instances, objects, sites, status, targets
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import Store
from holdfast_hub.store.keyring import KeyRing
from holdfast_hub.store.reader import UPKEEP, Reader
from holdfast_hub.store.readings import ReadingStore
from holdfast_hub.store.streams import StreamStore
from holdfast_hub.store.targets import TargetRow
from holdfast_protocol.blueprint.problems import MAX_PROBLEMS
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.names import SiteName


class Move(msgspec.Struct, frozen=True):
    """A site's target before (None: it had none) and after."""

    site: SiteName
    before: TargetRow | None
    after: Composed


class Note(msgspec.Struct, frozen=True):
    """What the audit says of a change."""

    actor: str
    action: str
    subjects: tuple[str, ...]  # Kind/name
    detail: Any = None


class Enacted(msgspec.Struct, frozen=True):
    change: Change
    moves: tuple[Move, ...]
    event: int  # of the audit; 0 on a dry run
    warnings: tuple[Problem, ...] = ()
    unplaced: tuple[str, ...] = ()  # instances of the change that no site has

    @property
    def sites(self) -> list[SiteName]:
        return [move.site for move in self.moves]


class Hub:
    """INVARIANTS: `fleet` is touched only in the database's thread; after any error it equals what is committed."""

    def __init__(
        self,
        store: Store,
        streams: StreamStore,
        identity: Identity,
        feed: Feed,
        clock: Clock,
    ) -> None:
        self.store = store
        self.streams = streams
        self.reader = Reader(streams.database.path)
        self.readings = ReadingStore(self.reader)
        self.upkeep = Reader(streams.database.path, within=UPKEEP)  # what people ask waits for none of it
        self.sinks: dict[str, Health] = {}
        self.bridges: dict[str, BridgeState] = {}  # those the hub runs itself
        self.places = anyio.Lock()  # of sinks and bridges among what is stored: one change of them at a time
        self.database = store.database
        self.partitions = store.partitions
        self.identity = identity
        self.feed = feed
        self.clock = clock
        self.fleet = Fleet()
        self.keys = KeyRing()

    async def load(self) -> None:
        """Read what is committed; call once, before anything else."""
        await self.store.read(lambda connection: self.fleet.load(connection, self.partitions))
        self.keys.load(await self.store.read(lambda connection: sites.keys(connection, self.partitions)))

    def now(self) -> int:
        """Return the hub's wall clock in milliseconds."""
        return int(self.clock.wall() * 1000)

    def tell(self, enacted: Enacted) -> None:
        """Tell the feed what was committed; for the event loop. Nothing is told of a dry run."""
        if not enacted.event:
            return
        for blueprint in enacted.change.blueprints:
            self.feed.tell("blueprint", blueprint)
        for owner in enacted.change.instances:
            self.feed.tell("instance", owner)
        for owner in enacted.change.objects:
            self.feed.tell("object", owner)
        for site in sorted({*enacted.change.sites, *enacted.sites}):
            self.feed.tell("site", site)
        if enacted.moves or None in enacted.change.sites.values():
            self.feed.tell("target", "")

    def enact(
        self, change: Change, note: Note, *, dry_run: bool = False, facts: frozenset[SiteName] = frozenset()
    ) -> Enacted:
        """Make a change, for the database's thread.

        Raises InputError when at a site two instances would claim the same thing, a policy is broken or a patch fails;
        then, and on any error, nothing is changed. `facts` are sites changed by what their nodes report, which cannot be
        refused: such a site keeps its target and the problem is noted, until a later change resolves it.
        """
        touched, back = self.fleet.make(change)
        unplaced = tuple(owner for owner, row in change.instances.items() if row and not self.fleet.sites_of(owner))
        try:
            with self.database.reading() as connection:
                moves, collisions, warned = self._moves(connection, touched)
            warnings = tuple(self._placed(warned))
            refused = {site: found for site, found in collisions.items() if site not in self.fleet.colliding | facts}
            if refused:
                raise InputError(self._placed(refused))
            if dry_run or (facts and not moves and not collisions):
                if dry_run:
                    self.fleet.make(back)
                return Enacted(change, tuple(moves), 0, warnings, unplaced)
            with self.database.transaction() as connection:
                self._write(connection, change, moves)
                self._note_collisions(connection, touched, collisions)
                event = audit.add(
                    connection,
                    at=self.now(),
                    actor=note.actor,
                    action=note.action,
                    subjects=note.subjects,
                    detail={"sites": len(moves), **(note.detail or {})},
                )
        except BaseException:
            self.fleet.make(back)
            raise
        self.fleet.colliding = (self.fleet.colliding - touched) | set(collisions)
        return Enacted(change, tuple(moves), event, warnings, unplaced)

    def _moves(
        self, connection: sqlite3.Connection, touched: set[SiteName]
    ) -> tuple[list[Move], dict[SiteName, tuple[Problem, ...]], dict[SiteName, tuple[Problem, ...]]]:
        """Return the moves, what speaks against a site's new target, and what its author should know, by site."""
        composing = Composing(self.fleet, self.now())
        collisions: dict[SiteName, tuple[Problem, ...]] = {}
        warned: dict[SiteName, tuple[Problem, ...]] = {}
        moves = []
        for site in sorted(touched):
            after = composing.at(site)
            before = targets.newest(connection, site)
            digest = before.digest if before is not None else "" if self.fleet.owners(site) else after.digest
            if after.warnings:
                warned[site] = after.warnings
            if after.problems:
                collisions[site] = after.problems
            elif digest != after.digest:  # a site that never had anything is not told to be empty
                moves.append(Move(site, before, after))
        return moves, collisions, warned

    def _note_collisions(
        self, connection: sqlite3.Connection, touched: set[SiteName], collisions: dict[SiteName, tuple[Problem, ...]]
    ) -> None:
        for site in self.fleet.colliding & touched - set(collisions):
            status.clear_problem(connection, site, "placement")
        for site, problems in collisions.items():
            status.add_problem(
                connection,
                site=site,
                node="",
                channel="placement",
                reason="Refused",
                message="; ".join(str(problem) for problem in problems),
                at=self.now(),
            )

    def _placed(self, refused: dict[SiteName, tuple[Problem, ...]]) -> list[Problem]:
        """Return the problems of some sites, each once, with its sites and the place of the document it is of."""
        found: dict[Problem, list[SiteName]] = {}
        for site, problems in refused.items():
            for problem in problems:
                found.setdefault(problem, []).append(site)
        placed = []
        for problem, at in list(found.items())[:MAX_PROBLEMS]:
            more = f" and {len(at) - 1} more" if len(at) > 1 else ""
            message = f"{problem.message}, at site {at[0]}{more}"
            row = None if problem.line else self.fleet.instances.get(problem.resource)
            place = {} if row is None else {"file": row.file, "line": row.line + 1}
            placed.append(msgspec.structs.replace(problem, message=message, **place))
        if len(found) > MAX_PROBLEMS:
            placed.append(Problem(f"and {len(found) - MAX_PROBLEMS} more problems"))
        return placed

    def _write(self, connection: sqlite3.Connection, change: Change, moves: Sequence[Move]) -> None:
        for owner, instance in change.instances.items():
            if instance is None:
                kind, _, name = owner.partition("/")
                instances.delete(connection, kind, name)
        for blueprint, row in change.blueprints.items():
            if row is None:
                blueprints.delete(connection, blueprint)
            else:
                blueprints.put(connection, row)
        for instance in change.instances.values():
            if instance is not None:
                instances.put(connection, instance)
        for owner, placed in change.objects.items():
            if placed is None:
                kind, _, name = owner.partition("/")
                objects.delete(connection, kind, name)
            else:
                objects.put(connection, placed)
        for name, hold in change.holds.items():
            if hold is None:
                holds.delete(connection, name)
            else:
                holds.put(connection, hold)
        for name, site in change.sites.items():
            if site is None:
                sites.delete(connection, name)
            else:
                sites.put(connection, site.row)
        for move in moves:
            self.allocate(connection, move)

    def allocate(self, connection: sqlite3.Connection, move: Move, *, above: int = 0) -> TargetRow:
        """Give a site its next target, in the transaction of the change."""
        return targets.allocate(
            connection,
            move.site,
            epoch=self.identity.epoch,
            digest=move.after.digest,
            body=move.after.body,
            at=self.now(),
            above=above,
            placed=self.fleet.placed_digest(move.site),
        )
