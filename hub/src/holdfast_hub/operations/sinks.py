"""Sinks at work: one loop for each, so that a slow or broken one holds up nobody, and where each of them stands.

A reading is handed over at least once: the place of a sink moves when the other side has it. [inv: commit-before-ack]
"""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import anyio
import msgspec

from holdfast_hub.blueprint import sink
from holdfast_hub.blueprint.sink import Spec, Webhook
from holdfast_hub.operations.hub import Hub
from holdfast_hub.sinks.health import Health, State
from holdfast_hub.sinks.outlet import Outlet
from holdfast_hub.sinks.postgresql import PostgreSQLOutlet
from holdfast_hub.sinks.webhook import WebhookOutlet
from holdfast_hub.store import sinks
from holdfast_hub.store.reader import Reader
from holdfast_hub.store.sinks import Progress
from holdfast_protocol.errors import HoldfastError, InputError, NotFoundError, PermanentError, TransientError
from holdfast_protocol.runtime.clock import Clock

IDLE: Final = 1.0  # seconds between two looks for readings
LOOK: Final = 2.0  # seconds between two looks for sinks that were made, changed or deleted
FIRST: Final = 1.0  # seconds to wait after a failure, doubled each time
LONGEST: Final = 300.0  # of it


class SinkView(msgspec.Struct, frozen=True):
    """`lag` is in readings stored and not dealt with, those of other sites included."""

    name: str
    to: str  # the destination's kind
    state: State
    sent: int
    lag: int
    refused: int
    skipped: int
    sent_at: int
    since: int
    failures: int
    message: str


class Wanted(msgspec.Struct, frozen=True):
    """A sink as it is to run; of another, it starts anew."""

    name: str
    spec: Spec
    sites: frozenset[str]


class Sinks:
    """The sinks of a hub. `open_outlet` is how a destination is reached."""

    def __init__(
        self,
        hub: Hub,
        open_outlet: Callable[[str, Spec, Clock], Outlet] | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._hub = hub
        self._open = open_outlet or outlet
        self._jitter = jitter
        self._reader = Reader(hub.streams.database.path)
        self._running: dict[str, tuple[Wanted, anyio.CancelScope]] = {}
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
        database = self._hub.streams.database
        for name, (held, scope) in list(self._running.items()):
            if wanted.get(name) != held:
                scope.cancel()
                del self._running[name]
        await database.call(self._keep, set(wanted))
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
        return [Wanted(row.name, sink.read(row.spec), frozenset(map(str, fleet.sites_of(row.owner)))) for row in rows]

    def _keep(self, names: set[str]) -> None:
        with self._hub.streams.database.transaction() as connection:
            for name in names:
                sinks.begin(connection, name, self._hub.now())
            for name in sinks.names(connection) - names:
                sinks.end(connection, name)
            sinks.skip_oldest(connection)

    async def _run_sink(self, wanted: Wanted, scope: anyio.CancelScope) -> None:
        health = self.health[wanted.name]
        with scope:
            while True:
                try:
                    held = self._open(wanted.name, wanted.spec, self._hub.clock)
                    try:
                        await self._drain(wanted, held, health)
                    finally:
                        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                            await held.close()
                except (TransientError, PermanentError, InputError) as error:
                    await self._rest(health, error)

    async def _drain(self, wanted: Wanted, held: Outlet, health: Health) -> None:
        """Hand over what has come, for ever. Raises TransientError."""
        database = self._hub.streams.database
        while True:
            taken = await self._reader.run(
                lambda connection: sinks.take(connection, wanted.name, wanted.sites, wanted.spec.batch)
            )
            if taken is None:
                health.state = "Waiting" if not health.failures else health.state
                await self._hub.clock.sleep(IDLE)
                continue
            refused = await held.send(taken.entries) if taken.entries else 0
            if taken.entries:
                health.state, health.failures, health.reason, health.message = "Sending", 0, "", ""
            sent = len(taken.entries) - refused
            await database.call(self._advance, wanted.name, taken.position, sent, refused)

    def _advance(self, name: str, position: int, sent: int, refused: int) -> None:
        with self._hub.streams.database.transaction() as connection:
            sinks.advance(connection, name, position, sent, refused, self._hub.now())

    async def _rest(self, health: Health, error: HoldfastError) -> None:
        health.failures += 1
        health.state, health.reason, health.message = "Failing", error.reason, error.message[:500]
        wait = min(FIRST * 2 ** min(health.failures - 1, 16), LONGEST) * (0.5 + 0.5 * self._jitter())
        await self._hub.clock.sleep(max(wait, error.after if isinstance(error, TransientError) else 0.0))


def outlet(name: str, spec: Spec, clock: Clock) -> Outlet:
    """Return the way to a sink's destination. Raises PermanentError when the hub lacks what it takes."""
    wanted = spec.destination
    return WebhookOutlet(name, wanted, clock) if isinstance(wanted, Webhook) else PostgreSQLOutlet(wanted)


async def list_sinks(hub: Hub) -> list[SinkView]:
    """Return every sink and how far it is."""
    rows = await hub.store.read(
        lambda _: {row.name: row.spec for row in hub.fleet.objects.values() if row.kind == sink.KIND}
    )
    held = {each.name: each for each in await hub.reader.run(sinks.progress)}
    return [_view(hub, name, rows[name], held.get(name)) for name in sorted(rows)]


async def show_sink(hub: Hub, name: str) -> SinkView:
    """Return one sink. Raises NotFoundError."""
    for each in await list_sinks(hub):
        if each.name == name:
            return each
    raise NotFoundError(f"no sink {name[:80]!r}", reason="NoSuchSink", hint="holdfast get sinks")


def _view(hub: Hub, name: str, spec: dict[str, Any], held: Progress | None) -> SinkView:
    health = hub.sinks.get(name, Health())
    to = "webhook" if "webhook" in spec else "postgresql"
    counts = (held.sent, held.lag, held.refused, held.skipped, held.sent_at, held.since) if held else (0,) * 6
    said = f"{health.reason}: {health.message}" if health.reason else ""
    return SinkView(name, to, health.state, *counts, health.failures, said)
