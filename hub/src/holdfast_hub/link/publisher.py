"""The publisher: gives the broker what is committed, never the other way round.

Rows first, broker after: an unpublished row is signed, published retained, and only then marked. Equal rows give equal
bytes, so a kill between publishing and marking costs one repetition that every site recognises.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import anyio
import msgspec

from holdfast_hub.link.identity import Identity
from holdfast_hub.link.pace import Pace
from holdfast_hub.store import sites, status, targets
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import Store
from holdfast_hub.store.targets import TargetRow
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.mqtt import Connected, Connection
from holdfast_protocol.wire import envelope, strict, topics
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import BEACON, Beacon, Content, Target, seal
from holdfast_protocol.wire.topics import Address

BATCH: Final = 100  # rows marked in one transaction
AT_ONCE: Final = 8  # publications awaiting their PUBACK
BEACON_LIFE: Final = 3600  # seconds; refreshed at a third of it
REPAIR_EVERY: Final = 60  # seconds
FORGET_AFTER: Final = (
    7 * 24 * 3600
)  # seconds since a message that could not be accepted, until it is no problem any more
OVERHEAD: Final = 512  # bytes of a packet besides its payload
_CONTENT: Final = msgspec.json.Decoder(Content)


class Standing(msgspec.Struct, frozen=True):
    """What a site's beacon is to say: epoch, generation and digest of its newest target; None: nothing."""

    known: bool
    position: tuple[int, int, str] | None


class Publisher:
    def __init__(
        self,
        store: Store,
        identity: Identity,
        feed: Feed,
        clock: Clock,
        *,
        rate: float = 500.0,
    ) -> None:
        """`rate` bounds publications a second once a burst is used up."""
        self._store = store
        self._identity = identity
        self._feed = feed
        self._clock = clock
        self._partitions = store.partitions
        self._pace = Pace(clock, rate)
        self._content: tuple[str, Content] = ("", Content())  # the last one decoded: most sites share theirs
        self._beacons_at = 0.0  # boottime; 0 means now

    def forget_beacons(self) -> None:
        """Have every beacon published at once: the broker has lost what it held."""
        self._beacons_at = 0.0

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Publish while connected; ends only by LinkLost or cancellation."""
        limit = connected.max_packet - OVERHEAD
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_targets, connection, limit, name="targets")
            group.start_soon(self._run_beacons, connection, name="beacons")
            group.start_soon(self._run_repair, name="repair")

    async def _run_targets(self, connection: Connection, limit: int) -> None:
        followed = self._feed.follow()
        await self.publish_waiting(connection, limit)
        while True:
            event = await followed.next()
            if event.kind in ("target", "reset"):
                await self.publish_waiting(connection, limit)

    async def publish_waiting(self, connection: Connection, limit: int) -> None:
        """Publish every committed target the broker was not given, and let it forget deleted sites."""
        for site in await self._store.read(lambda held: sites.forgotten(held, self._partitions)):
            await self._erase(connection, site)
        while rows := await self._store.read(lambda held: targets.waiting(held, self._partitions, BATCH)):
            await self._publish_rows(connection, rows, limit)

    async def _erase(self, connection: Connection, site: SiteName) -> None:
        """Empty the topics of a deleted site. It goes on as it is: an empty message never means removal."""
        for channel in ("target", "beacon"):
            await connection.publish(topics.topic(Address(channel, site)), b"", retain=True)
        await self._store.write(lambda held: sites.mark_forgotten(held, site))

    async def _publish_rows(self, connection: Connection, rows: Sequence[TargetRow], limit: int) -> None:
        """Publish some rows at once and mark those that are with the broker, also when the link is lost midway."""
        out: list[TargetRow] = []
        limiter = anyio.Semaphore(AT_ONCE)

        async def publish(row: TargetRow) -> None:
            async with limiter:
                if await self._publish(connection, row, limit):
                    out.append(row)

        try:
            async with anyio.create_task_group() as group:
                for row in rows:
                    group.start_soon(publish, row)
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.write(lambda held: self._mark(held, out))
        for row in out:
            self._feed.tell("site", row.site)

    async def _publish(self, connection: Connection, row: TargetRow, limit: int) -> bool:
        """Publish one target and its beacon; return whether it is with the broker, false when it cannot carry it."""
        sealed = await self._store.database.call(self._sealed, row)
        if sealed is None:
            return False
        if len(sealed) > limit:
            await self._store.write(lambda held: self._refuse(held, row, len(sealed), limit))
            return False
        await self._pace.take()
        await connection.publish(topics.topic(Address("target", row.site)), sealed, retain=True)
        await self._publish_beacon(connection, row.site, (row.epoch, row.generation, row.digest))
        return True

    def _mark(self, connection: sqlite3.Connection, rows: Sequence[TargetRow]) -> None:
        targets.mark_published(connection, rows, self._now())
        for row in rows:
            status.clear_problem(connection, row.site, "target")

    def _refuse(self, connection: sqlite3.Connection, row: TargetRow, size: int, limit: int) -> None:
        targets.mark_refused(connection, row)
        status.add_problem(
            connection,
            site=row.site,
            node="",
            channel="target",
            reason="TooLarge",
            message=f"a target of {size} bytes, the broker carries {limit}",
            at=self._now(),
        )

    def _sealed(self, row: TargetRow) -> bytes | None:
        """Return the target to publish; None when meanwhile its site was deleted, or newer targets displaced it."""
        digest, content = self._content
        if digest != row.digest:
            with self._store.database.reading() as connection:
                if not targets.is_stored(connection, row.digest):
                    return None
                content = _CONTENT.decode(targets.body(connection, row.digest))
            self._content = (row.digest, content)
        identity = self._identity
        target = Target(
            identity.fleet,
            row.site,
            row.epoch,
            row.generation,
            row.digest,
            row.previous,
            row.issued_at,
            content,
        )
        return seal(target, [identity.signer])

    async def _run_beacons(self, connection: Connection) -> None:
        while True:
            wait = self._beacons_at - self._clock.boottime()
            if wait > 0:
                await self._clock.sleep(wait)
            for site in await self._store.read(lambda held: sites.load(held, self._partitions)):
                if not site.in_conflict:
                    await self._pace.take()
                    await self._refresh_beacon(connection, site.name)
            self._beacons_at = self._clock.boottime() + BEACON_LIFE / 3

    async def _refresh_beacon(self, connection: Connection, site: SiteName) -> None:
        """Publish a site's beacon as of now, and again when that changed while it went out: it may have come last."""
        said: Standing | None = None
        while (now := await self._store.read(lambda held: self._standing(held, site))) != said:
            if now.position is not None:
                await self._publish_beacon(connection, site, now.position)
            elif said is not None and not now.known:
                await connection.publish(topics.topic(Address("beacon", site)), b"", retain=True)
            said = now

    def _standing(self, connection: sqlite3.Connection, site: SiteName) -> Standing:
        known, row = sites.find(connection, site), targets.newest(connection, site)
        if known is None or known.in_conflict:
            return Standing(known is not None, None)
        return Standing(True, (row.epoch, row.generation, row.digest) if row else (self._identity.epoch, 0, ""))

    async def _publish_beacon(self, connection: Connection, site: SiteName, position: tuple[int, int, str]) -> None:
        now = self._now()
        beacon = Beacon(self._identity.fleet, site, *position, now, now + BEACON_LIFE * 1000)
        sealed = envelope.seal(BEACON, strict.encode(beacon), [self._identity.signer])
        await connection.publish(topics.topic(Address("beacon", site)), sealed, retain=True)

    async def _run_repair(self) -> None:
        """Each minute, see to what a connected site should have had by now and does not report, and to old problems."""
        while True:
            await self._clock.sleep(REPAIR_EVERY)
            await self.repair()

    async def repair(self) -> None:
        def marking(connection: sqlite3.Connection) -> bool:
            now = self._now()
            status.forget_problems(connection, now - FORGET_AFTER * 1000)
            return targets.mark_lagging(
                connection, targets.lagging(connection, self._partitions, now - REPAIR_EVERY * 1000), now
            )

        if await self._store.write(marking):
            self._feed.tell("target", "")

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)
