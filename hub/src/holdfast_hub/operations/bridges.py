"""Bridges the hub runs itself, one loop each; and how every bridge does, its own and the sites'.

Readings reach a bridge as they reach a sink: from its place among what was stored, which moves when the bridge's queue has
them. [inv: commit-before-ack]
"""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.places import keep_places, place_of
from holdfast_hub.store import sinks, status
from holdfast_hub.store.reader import Reader
from holdfast_protocol.bridging.rules import NONE
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import HoldfastError, NotFoundError, PermanentError, TransientError, WireError, first_of
from holdfast_protocol.kinds import bridge, hub_bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.relay.opening import bounds_of, plan_of
from holdfast_protocol.relay.queue import Bounds, Queue, open_queue
from holdfast_protocol.relay.readings import Feed
from holdfast_protocol.relay.run import Relay
from holdfast_protocol.runtime.link import LONGEST, Backoff
from holdfast_protocol.runtime.mqtt import Dial
from holdfast_protocol.wire.messages import BridgeStatus
from holdfast_protocol.wire.readings import Reading

HUB: Final = "hub"  # stands where a site's name does
LOOK: Final = 2.0  # seconds between two looks for bridges that were made, changed or deleted
IDLE: Final = 1.0  # seconds between two looks for readings
BATCH: Final = 2_000  # readings handed over at once
BEGUN: Final = "begun"  # the note of a queue that says whose it is
CHANCE: Final = 1.0  # of the longest wait after a failure


class BridgeView(msgspec.Struct, frozen=True):
    """`at` in milliseconds since 1970 is when this was said, by the hub's clock, 0 for its own, which is now; `online`:
    whether its node is there to say otherwise."""

    site: str
    node: str
    name: str
    at: int
    online: bool
    connected: bool
    since: int
    reason: str
    problem: str
    ways: dict[str, dict[str, Any]]


class Wanted(msgspec.Struct, frozen=True):
    """A bridge as it is to run; of another, it starts anew. `labels` by site, of the sites whose readings go out; `begun`
    as its place: of one that was deleted and made anew, nothing that waits is its own."""

    name: str
    spec: dict[str, Any]
    labels: dict[str, dict[str, str]]
    begun: int = 0


class HubBridges:
    """The bridges of a hub: `folder` is where their queues are, the rest how its own broker is reached."""

    def __init__(
        self, hub: Hub, dial: Dial, folder: Path, host: str, port: int, username: str = "", password: str = ""
    ) -> None:
        self._login = (username, password)
        self._hub = hub
        self._dial = dial
        self._folder = folder
        self._place = Place(HUB, HUB, host, port)
        self._reader = Reader(hub.streams.database.path)
        self._running: dict[str, tuple[Wanted, anyio.CancelScope, anyio.Event]] = {}

    async def run(self) -> None:
        """Run every bridge there is, for ever."""
        async with anyio.create_task_group() as group:
            while True:
                with contextlib.suppress(TransientError):  # a full disk: the next turn tries again
                    await self._adjust(group)
                await self._hub.clock.sleep(LOOK)

    async def _adjust(self, group: anyio.abc.TaskGroup) -> None:
        await keep_places(self._hub)
        wanted = {each.name: each for each in await self._known()}
        for name, (held, scope, ended) in list(self._running.items()):
            if wanted.get(name) != held:
                scope.cancel()
                await ended.wait()
                del self._running[name]
                self._hub.bridges.pop(name, None)
        await anyio.to_thread.run_sync(self._clear, set(wanted))
        for name, each in wanted.items():
            if name not in self._running:
                scope, ended = anyio.CancelScope(), anyio.Event()
                self._running[name] = each, scope, ended
                self._hub.bridges[name] = BridgeState(name)
                group.start_soon(self._run_one, each, scope, ended, name=f"bridge {name}")

    async def _known(self) -> list[Wanted]:
        found = await self._hub.store.read(self._wanted)
        return await self._hub.streams.database.call(self._begun, found)

    def _wanted(self, _: sqlite3.Connection) -> list[Wanted]:
        fleet = self._hub.fleet
        return [
            Wanted(row.name, row.spec, {str(site): fleet.sites[site].row.labels for site in fleet.sites_of(row.owner)})
            for row in fleet.objects.values()
            if row.kind == bridge.KIND
        ]

    def _begun(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return those that have their place by now, with its beginning."""
        with self._hub.streams.database.reading() as connection:
            found = [(each, sinks.begun(connection, place_of(each.name))) for each in wanted]
        return [msgspec.structs.replace(each, begun=begun) for each, begun in found if begun]

    def _clear(self, names: set[str]) -> None:
        for path in self._folder.glob("*.db*"):
            if path.name.rpartition(".db")[0] not in names and path.is_file():
                with contextlib.suppress(OSError):  # it is tried again at the next turn
                    path.unlink(missing_ok=True)

    async def _run_one(self, wanted: Wanted, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        state, clock, backoff = self._hub.bridges[wanted.name], self._hub.clock, Backoff()
        try:
            with scope:
                while True:
                    began = clock.boottime()
                    try:
                        await self._serve(wanted, state)
                    except* HoldfastError as group:
                        error = first_of(group)
                        state.problem = f"{error.reason}: {error.message}"[:500]
                    if clock.boottime() - began > LONGEST:
                        backoff.reset()
                    await clock.sleep(backoff.wait("", CHANCE, clock.boottime()))
        finally:
            ended.set()

    async def _serve(self, wanted: Wanted, state: BridgeState) -> None:
        try:
            want = hub_bridge.at_hub(wanted.spec, wanted.name, self._place)
        except WireError as error:
            raise PermanentError(error.message, reason=error.reason, hint=error.hint) from None
        plan = await anyio.to_thread.run_sync(plan_of, want, wanted.name, self._place, {})
        if want.spec.local is None:
            username, password = self._login
            local = msgspec.structs.replace(plan.local, username=username, password=password)
            plan = msgspec.structs.replace(plan, local=local)
        queue = await anyio.to_thread.run_sync(self._queue, wanted, bounds_of(want))
        try:
            relay = Relay(plan, queue, state, self._hub.clock)
            namespace = want.spec.values.get("namespace", "")
            feed = Feed(want.out, queue, relay.put, namespace=namespace, product=plan.product)
            async with anyio.create_task_group() as group:
                group.start_soon(self._feed, wanted, feed, any(each.of_readings for each in want.out))
                await relay.run(self._dial)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(queue.close)

    def _queue(self, wanted: Wanted, bounds: Bounds) -> Queue:
        """Return the queue of a bridge, without what waits in that of one of its name which was deleted."""
        path = self._folder / f"{wanted.name}.db"
        queue, begun = open_queue(path, bounds, self._hub.clock), b"%d" % wanted.begun
        try:
            if queue.note(BEGUN) not in (b"", begun):
                queue.close()
                path.unlink()
                queue = open_queue(path, bounds, self._hub.clock)
            queue.keep_note(BEGUN, begun)
        except OSError as error:
            raise TransientError(f"{path}: {error.strerror}", reason="DiskFull") from error
        except HoldfastError:
            queue.close()
            raise
        return queue

    async def _feed(self, wanted: Wanted, feed: Feed, has_rules: bool) -> None:
        """Hand over what is stored, for ever. Without rules for readings only its place moves on."""
        place, sites = place_of(wanted.name), frozenset(wanted.labels) if has_rules else frozenset()
        while True:
            taken = await self._reader.run(lambda connection: sinks.take(connection, place, sites, BATCH))
            # One that was changed, or has other sites now, starts anew: those would be passed over.
            if taken is None or wanted not in await self._known():
                await self._hub.clock.sleep(IDLE)
                continue
            try:
                await feed.put_about([(_reading(each), _about(each, wanted.labels)) for each in taken.entries])
                await self._hub.streams.database.call(self._advance, wanted, taken)
            except TransientError as error:
                await self._hub.clock.sleep(error.after or IDLE)

    def _advance(self, wanted: Wanted, taken: sinks.Taken) -> None:
        """Move its place on, and not that of another of its name."""
        place = place_of(wanted.name)
        with self._hub.streams.database.transaction() as connection:
            if sinks.begun(connection, place) == wanted.begun:
                sinks.advance(connection, place, taken, len(taken.entries), 0, self._hub.now())


async def list_bridges(hub: Hub) -> list[BridgeView]:
    """Return every bridge, the hub's own first, as its site said last."""

    def reading(connection: sqlite3.Connection) -> list[BridgeView]:
        return [
            _view(each, node.site, node.node, node.status_at, node.online)
            for node in status.nodes(connection, hub.partitions)
            if node.status is not None
            for each in node.status.bridges
        ]

    now = hub.clock.boottime()
    own = [_view(state.status(now), HUB, "", 0, True) for _, state in sorted(hub.bridges.items())]
    return own + await hub.store.read(reading)


async def show_bridge(hub: Hub, name: str) -> list[BridgeView]:
    """Return a bridge by SITE/NAME, at each of its nodes. Raises NotFoundError."""
    found = [each for each in await list_bridges(hub) if name == f"{each.site}/{each.name}"]
    if not found:
        raise NotFoundError(f"no bridge {name[:160]!r}", reason="NoSuchBridge", hint="holdfast bridge status")
    return found


def _view(said: BridgeStatus, site: str, node: str, at: int, online: bool) -> BridgeView:
    ways = {name: msgspec.structs.asdict(way) for name, way in said.ways.items()}
    return BridgeView(site, node, said.name, at, online, said.connected, said.since, said.reason, said.problem, ways)


def _reading(entry: sinks.Entry) -> Reading:
    series = entry.series
    return Reading(series.device, series.metric, entry.row.time, entry.row.value, series.unit, series.quality)


def _about(entry: sinks.Entry, labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the names that come with a reading: its site, its node, and the site's labels."""
    site = entry.series.site
    known = {f"label.{key}": value or NONE for key, value in labels.get(site, {}).items()}
    return {"site": site, "node": entry.series.node, **known}
