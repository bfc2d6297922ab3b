"""Sinks at work: one loop for each, so that a slow or broken one holds up nobody, and where each of them stands.

A reading is handed over at least once: the place of a sink moves when the other side has it. [inv: commit-before-ack]
"""

import contextlib
import random
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import anyio
import msgspec

from holdfast_hub.blueprint import sink
from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.places import keep_places
from holdfast_hub.sinks.health import Health, State
from holdfast_hub.sinks.opening import outlet
from holdfast_hub.sinks.outlet import NOTHING, Labels, Outlet
from holdfast_hub.store import audit, replays, sinks
from holdfast_hub.store.reader import UPKEEP, Reader
from holdfast_hub.store.replays import Replayed
from holdfast_hub.store.sinks import Progress, Taken
from holdfast_protocol.errors import HoldfastError, InputError, NotFoundError, PermanentError, TransientError, render
from holdfast_protocol.runtime.clock import Clock

IDLE: Final = 1.0  # seconds between two looks for readings
LOOK: Final = 2.0  # seconds between two looks for sinks that were made, changed or deleted
FIRST: Final = 1.0  # seconds to wait after a failure, doubled each time
LONGEST: Final = 300.0  # of it
T = TypeVar("T", Taken, Replayed)


class SinkView(msgspec.Struct, frozen=True):
    """`lag` is in readings stored and not dealt with, those of other sites included; `replaying` is how many sequences a
    replay still has to look at, `missed` how many readings retention took before they were handed over."""

    name: str
    to: str  # the destination's kind
    state: State
    sent: int
    lag: int
    refused: int
    skipped: int
    sent_at: int
    since: int
    missed: int
    replaying: int
    failures: int
    message: str
    refusal: str  # what the other side last said of readings it took, or will never take


class Wanted(msgspec.Struct, frozen=True):
    """A sink as it is to run; of another, it starts anew."""

    name: str
    spec: Spec


class Sinks:
    """The sinks of a hub. `open_outlet` is how a destination is reached."""

    def __init__(
        self,
        hub: Hub,
        open_outlet: Callable[[str, Spec, Clock, Labels], Outlet] | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._hub = hub
        self._open = open_outlet or outlet
        self._jitter = jitter
        self._reader = Reader(hub.streams.database.path, within=UPKEEP)
        self._running: dict[str, tuple[Wanted, anyio.CancelScope]] = {}
        self._labels: dict[str, dict[str, str]] = {}  # by site
        self.health = hub.sinks

    async def run(self) -> None:
        """Run every sink there is, for ever."""
        async with anyio.create_task_group() as group:
            while True:
                with contextlib.suppress(TransientError):  # a full disk: the next turn tries again
                    await self._adjust(group)
                await self._hub.clock.sleep(LOOK)

    async def _adjust(self, group: anyio.abc.TaskGroup) -> None:
        wanted = {each.name: each for each in await self._hub.store.read(self._wanted)}
        for name, (held, scope) in list(self._running.items()):
            if wanted.get(name) != held:
                scope.cancel()
                del self._running[name]
        await keep_places(self._hub)
        for name, each in wanted.items():
            if name not in self._running:
                scope = anyio.CancelScope()
                self._running[name] = each, scope
                self.health[name] = Health()
                group.start_soon(self._run_sink, each, scope, name=f"sink {name}")
        for name in set(self.health) - set(wanted):
            del self.health[name]

    def _wanted(self, _: sqlite3.Connection) -> list[Wanted]:
        fleet = self._hub.fleet
        rows = [row for row in fleet.objects.values() if row.kind == sink.KIND]
        self._labels = {name: site.row.labels for name, site in fleet.sites.items()} if rows else {}
        return [Wanted(row.name, sink.read(row.spec)) for row in rows]

    def _placed(self, name: str) -> frozenset[str]:
        """Return the sites a sink is for now, and learn their labels; for the database's thread."""
        fleet = self._hub.fleet
        found = {str(site): fleet.sites[site].row.labels for site in fleet.sites_of(f"{sink.KIND}/{name}")}
        self._labels = {**self._labels, **found}
        return frozenset(found)

    def _labels_of(self, site: str) -> Mapping[str, str]:
        return self._labels.get(site, {})

    async def _run_sink(self, wanted: Wanted, scope: anyio.CancelScope) -> None:
        health = self.health[wanted.name]
        with scope:
            while True:
                try:
                    held = self._open(wanted.name, wanted.spec, self._hub.clock, self._labels_of)
                    try:
                        await self._drain(wanted, held, health)
                    finally:
                        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                            await held.close()
                except (TransientError, PermanentError, InputError) as error:
                    await self._rest(health, error)

    async def _drain(self, wanted: Wanted, held: Outlet, health: Health) -> None:
        """Hand over what has come, and by turns what is to be given again, for ever. Raises TransientError."""
        while True:
            live = await self._hand_over(wanted, held, health, sinks.take, sinks.advance)
            again = await self._hand_over(wanted, held, health, replays.take, replays.advance)
            if not live and not again:
                health.state = "Waiting" if not health.failures else health.state
                await self._hub.clock.sleep(IDLE)

    async def _hand_over(
        self,
        wanted: Wanted,
        held: Outlet,
        health: Health,
        take: Callable[[sqlite3.Connection, str, frozenset[str], int], T | None],
        advance: Callable[[sqlite3.Connection, str, T, int, int, int], None],
    ) -> bool:
        taken = await self._take(wanted, take)
        if taken is None:
            return False
        refusal = await held.send(taken.entries) if taken.entries else NOTHING
        if taken.entries:
            health.state, health.failures, health.reason, health.message = "Sending", 0, "", ""
        health.refusal = refusal.why or health.refusal
        sent = len(taken.entries) - refusal.count

        def advancing() -> None:
            with self._hub.streams.database.transaction() as connection:
                advance(connection, wanted.name, taken, sent, refusal.count, self._hub.now())

        await self._hub.streams.database.call(advancing)
        return True

    async def _take(
        self, wanted: Wanted, take: Callable[[sqlite3.Connection, str, frozenset[str], int], T | None]
    ) -> T | None:
        """Return the next readings, chosen by the sites that the sink was for all the while: those of a site that came to
        it meanwhile would be passed over. [inv: every-loss-is-counted]"""
        sites = frozenset[str]()

        def taking(connection: sqlite3.Connection) -> T | None:
            return take(connection, wanted.name, sites, wanted.spec.batch)

        while True:
            before = sites = await self._hub.store.read(lambda _: self._placed(wanted.name))
            taken = await self._reader.run(taking)
            if taken is None or before == await self._hub.store.read(lambda _: self._placed(wanted.name)):
                return taken

    async def _rest(self, health: Health, error: HoldfastError) -> None:
        health.failures += 1
        health.state, health.reason, health.message = "Failing", error.reason, render(error)[:500]
        wait = min(FIRST * 2 ** min(health.failures - 1, 16), LONGEST) * (0.5 + 0.5 * self._jitter())
        await self._hub.clock.sleep(max(wait, error.after if isinstance(error, TransientError) else 0.0))


async def list_sinks(hub: Hub) -> list[SinkView]:
    """Return every sink and how far it is."""
    rows = await hub.store.read(
        lambda _: {row.name: row.spec for row in hub.fleet.objects.values() if row.kind == sink.KIND}
    )
    held = {each.name: each for each in await hub.reader.run(sinks.progress)}
    left = await hub.reader.run(replays.waiting)
    return [_view(hub, name, rows[name], held.get(name), left.get(name, 0)) for name in sorted(rows)]


async def show_sink(hub: Hub, name: str) -> SinkView:
    """Return one sink. Raises NotFoundError."""
    for each in await list_sinks(hub):
        if each.name == name:
            return each
    raise NotFoundError(f"no sink {name[:80]!r}", reason="NoSuchSink", hint="holdfast get sinks")


async def replay(hub: Hub, name: str, since: int | None, *, author: str) -> SinkView:
    """Give a sink again what is stored of its sites, readings of a time (ms; None: of any) and later. Raises NotFoundError."""
    await show_sink(hub, name)
    sites = await hub.store.read(lambda _: list(map(str, hub.fleet.sites_of(f"{sink.KIND}/{name}"))))
    start = replays.BEGINNING if since is None else since

    def beginning() -> int:
        with hub.streams.database.transaction() as connection:
            return replays.begin(connection, name, sites, start)

    detail = {"from": since, "sequences": await hub.streams.database.call(beginning)}
    await hub.store.write(
        lambda connection: audit.add(
            connection,
            at=hub.now(),
            actor=author,
            action="replay-sink",
            subjects=(f"{sink.KIND}/{name}",),
            detail=detail,
        )
    )
    return await show_sink(hub, name)


def _view(hub: Hub, name: str, spec: dict[str, Any], held: Progress | None, left: int) -> SinkView:
    health = hub.sinks.get(name, Health())
    to = sink.read(spec).to
    counts = (0,) * 7
    if held is not None:
        counts = (held.sent, held.lag, held.refused, held.skipped, held.sent_at, held.since, held.missed)
    said = f"{health.reason}: {health.message}" if health.reason else ""
    return SinkView(name, to, health.state, *counts, left, health.failures, said, health.refusal)
