"""The outbox: what this node still owes the hub, durable before anybody is told so.

Producers wait for their own rows only; whatever they bring while a transaction is being written goes into the next one
together (group commit), class by class, so that a full p3 holds up nobody else. [inv: outbox-never-blocks-reconcile]
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import anyio
import msgspec

from holdfast_edge.store.newest import KEPT as NEWEST_KEPT
from holdfast_edge.store.newest import Newest, last_readings
from holdfast_edge.store.outbox_opening import open_outbox
from holdfast_edge.store.outbox_state import Depth, Odometer, Page, Quotas, View
from holdfast_edge.store.outbox_writer import AT_ONCE, Append, Writer
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.messages import Record, StreamAck, StreamState
from holdfast_protocol.wire.names import is_hex
from holdfast_protocol.wire.readings import Reading

SERIES: Final = "\n"  # begins the keys of readings in p1; no record's key has a line break
MAX_TTL: Final = 10 * 366 * 86_400.0  # seconds
MAX_CREDIT: Final = 64  # batches of a stream under way, whatever the hub grants


class Outbox:
    """Used from one event loop.

    `revision` grows with everything that may give the sender something to do, `heard` with every word of the hub.
    """

    def __init__(self, database: Database, writer: Writer, newest: Newest, batches_at_once: int = MAX_CREDIT) -> None:
        self.revision = 0
        self.heard = 0
        self._database = database
        self._writer = writer
        self.newest = newest
        self._batches_at_once = batches_at_once
        self._acks: dict[str, StreamAck] = {}
        self._waiting: anyio.Event | None = None  # None: nobody waits

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        quotas: Quotas,
        stamp: Callable[[], Stamp],
        rows_at_once: int = AT_ONCE,
        batches_at_once: int = MAX_CREDIT,
        newest_kept: int = NEWEST_KEPT,
    ) -> Self:
        """Open `folder`/outbox.db, or begin a new history when it is damaged, lost or not the one last written here.

        Blocks. `stamp` reads the node's clocks; it is called from the database's thread. `rows_at_once` in a transaction,
        `batches_at_once` of a stream under way, `newest_kept` series in memory. Raises TransientError
        `DiskFull`, PermanentError `NewerSchema`.
        """
        database, streams = open_outbox(folder, quotas, stamp())
        newest = Newest(newest_kept)
        newest.take(last_readings(database))
        return cls(database, Writer(folder, database, streams, quotas, stamp, rows_at_once), newest, batches_at_once)

    async def append_readings(
        self,
        readings: Sequence[Reading],
        *,
        stream: str = "p3",
        ttl: float = 0.0,
        cursors: Mapping[str, bytes] | None = None,
    ) -> None:
        """Return when `readings` and the producer's cursors (values by name) are durable, all or none.

        `stream` is p1 (of each series, device and metric, only the newest is kept), p2 or p3; `ttl` in seconds is how
        long they are worth sending, 0 for ever, by the time this node runs. Raises MisuseError `BadReading`,
        TransientError `QuotaExceeded` (p1) or `DiskFull`.
        """
        if stream not in ("p1", "p2", "p3") or not 0 <= ttl <= MAX_TTL:
            raise MisuseError(f"readings go to p1, p2 or p3, not {stream!r}, for {ttl} s", reason="BadReading")
        keys = [f"{SERIES}{each.device}\n{each.metric}" for each in readings] if stream == "p1" else ()
        await self._append(stream, Append(readings=readings, keys=keys, ttl=int(ttl * 1000), cursors=cursors or {}))
        self.newest.take(readings)

    async def append_records(
        self, stream: str, records: Sequence[Record], *, keys: Sequence[str] | None = None, ttl: float = 0.0
    ) -> None:
        """Return when `records` are durable. In p1 each has a key, and replaces what was there with the same.

        `ttl` as for readings; p0 has none. Raises MisuseError `BadRecord`, TransientError `QuotaExceeded` (p0, p1) or
        `DiskFull`.
        """
        if (stream == "p1") != (keys is not None) or (keys is not None and (len(keys) != len(records) or "" in keys)):
            raise MisuseError("records of p1 have a key each, no others have any", reason="BadRecord")
        if not 0 <= ttl <= MAX_TTL or (stream == "p0" and ttl):
            raise MisuseError(f"records of {stream} cannot expire after {ttl} s", reason="BadRecord")
        await self._append(stream, Append(records=records, keys=keys or (), ttl=int(ttl * 1000)))

    async def _append(self, stream: str, append: Append) -> None:
        self._writer.offer(stream, append)
        await self._database.call(self._writer.drain)  # whoever drains, this one or an earlier one, took ours too
        self._bump()
        if append.error is not None:
            raise append.error
        if not append.committed:
            raise MisuseError("the outbox did not decide on an append")

    def cursor(self, name: str) -> bytes:
        """Return the last committed value of a producer's cursor, b"" when there is none."""
        return self._writer.cursors.get(name, b"")

    def states(self) -> dict[str, StreamState]:
        """Return the streams by class, for the hello."""
        return {name: stream.state for name, stream in self._writer.streams.items()}

    def depth(self) -> dict[str, Depth]:
        return {
            name: msgspec.structs.replace(
                stream.depth, quota=self._writer.quotas.of(name), losses=dict(self._writer.losses.get(name, {}))
            )
            for name, stream in self._writer.streams.items()
        }

    def taken(self) -> dict[str, int]:
        """Return the bytes appended since the start, by class."""
        return {name: stream.taken for name, stream in self._writer.streams.items()}

    @property
    def odometer(self) -> Odometer:
        """How long this node has run, and what history it has sent of late, as last committed."""
        return self._writer.odometer

    async def spend(self, size: int) -> None:
        """Count bytes of history that are about to be sent; durable on return."""
        await self._database.call(self._writer.spend, size)

    async def tidy(self) -> None:
        """Drop what has expired; keep the odometer. Raises TransientError `DiskFull`."""
        while await self._database.call(self._writer.tidy):
            pass
        self._bump()

    async def settle(self) -> None:
        """Note that nothing is under way: the link is gone. Never raises for a full disk."""
        await self._database.call(self._writer.settle)

    async def acknowledge(self, ack: StreamAck) -> None:
        """Delete what the hub has committed, and remember what it lacks.

        The caller has verified the hub's signature. An acknowledgement of another incarnation, or whose chain is not
        ours, changes nothing; a fork starts a new incarnation, in which everything not acknowledged is sent again.
        """
        stream = self._writer.streams.get(ack.stream)
        if stream is None or ack.incarnation != stream.incarnation or not (ack.chain == "" or is_hex(ack.chain, 64)):
            return
        ours, more = await self._database.call(self._writer.release, ack)
        while more:
            _, more = await self._database.call(self._writer.release, ack)
        if ack.fork:
            await self._database.call(self._writer.fork, ack.stream, ack.incarnation)
            self._acks.pop(ack.stream, None)
        elif ours:
            self._acks[ack.stream] = ack
        self.hear()

    def hear(self) -> None:
        """Note that the hub is there: what met nobody may be sent again."""
        self.heard += 1
        self._bump()

    def view(self, stream: str) -> View:
        """Return what the hub holds of a stream, as far as it said."""
        ack = self._acks.get(stream)
        acked = self._writer.streams[stream].acked
        if ack is None:
            return View(acked, acked)
        credit = max(ack.credit, 1 if stream == "p0" else 0)  # no hub stops reports and alarms
        return View(ack.upto, max(ack.high, ack.upto), ack.missing, min(credit, MAX_CREDIT, self._batches_at_once))

    async def read(self, stream: str, first: int, upto: int, size: int = 0) -> Page | None:
        """Return the segments from the one that holds `first` on, as many as fit a batch, and `size` bytes if not 0.

        None when there are none. What was read counts as sent until the hub has it.
        """
        return await self._database.call(self._writer.read, stream, first, upto, size)

    async def changed(self, revision: int) -> None:
        """Return once `revision` is no longer the current one."""
        while self.revision == revision:
            if self._waiting is None:
                self._waiting = anyio.Event()
            await self._waiting.wait()

    def _bump(self) -> None:
        self.revision += 1
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    def close(self) -> None:
        """Blocks until what runs is done."""
        self._database.close()
