"""The half of the outbox that runs in the database's thread: one transaction for all who wait, then the next."""

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.store import outbox_files as files
from holdfast_edge.store import outbox_pages as pages
from holdfast_edge.store import outbox_rows as rows
from holdfast_edge.store.outbox_state import Page, Quotas, Stream
from holdfast_protocol.errors import HoldfastError, MisuseError, PermanentError, TransientError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire import readings as reading_groups
from holdfast_protocol.wire import records as record_groups
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.messages import Record, StreamAck
from holdfast_protocol.wire.readings import Encoded, Reading
from holdfast_protocol.wire.topics import STREAM_CLASSES

AT_ONCE: Final = 16_000  # rows of one class in one transaction, so that p0 never waits for more
ENDS: Final = 4096  # batches' ends remembered for each stream
SHED: Final = 64  # groups dropped at a time to get out of a full disk


class Append(msgspec.Struct, eq=False):
    """What one producer waits for: readings or records, and where it then stands (name and value, or None)."""

    readings: Sequence[Reading] = ()
    records: Sequence[Record] = ()
    keys: Sequence[str] = ()  # one a record in p1, else none
    cursor: tuple[str, bytes] | None = None
    committed: bool = False
    error: HoldfastError | None = None

    @property
    def count(self) -> int:
        return len(self.readings) + len(self.records)


class Writer:
    """INVARIANTS: `streams` and `cursors` are what is committed; they are replaced after a commit, never before."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        streams: dict[str, Stream],
        quotas: Quotas,
        stamp: Callable[[], Stamp],
        rows_at_once: int = AT_ONCE,
    ) -> None:
        self.streams = streams
        with database.reading() as connection:
            self.cursors: dict[str, bytes] = dict(connection.execute("SELECT name, value FROM cursors").fetchall())
        self._folder = folder
        self._database = database
        self._quotas = quotas
        self._stamp = stamp
        self._rows_at_once = rows_at_once
        self._pending: dict[str, deque[Append]] = {name: deque() for name in STREAM_CLASSES}
        # Where batches ended, and the chain there: a tombstone may have grown over it before the hub's answer comes.
        self._ends: dict[str, dict[int, bytes]] = {name: {} for name in STREAM_CLASSES}

    def offer(self, name: str, append: Append) -> None:
        """Queue an append; the next `drain` decides on it. May be called from another thread."""
        self._pending[name].append(append)

    def drain(self) -> None:
        """Commit everything offered, p0 before the rest at every turn."""
        while any(self._pending.values()):
            for name, pending in self._pending.items():
                taken: list[Append] = []
                room = min(self._rows_at_once, AT_ONCE)
                while pending and room > 0:
                    taken.append(pending.popleft())
                    room -= taken[-1].count
                if taken:
                    self._commit(name, taken)

    def _commit(self, name: str, appends: Sequence[Append]) -> None:
        try:
            self._write_or_make_room(name, appends)
        except (MisuseError, TransientError) as error:
            if len(appends) > 1 and error.reason != "DiskFull":  # one of them is to blame: each on its own
                for append in appends:
                    self._commit(name, [append])
                return
            _fail(appends, error)
        except PermanentError as error:
            _fail(appends, error)
        else:
            for append in appends:
                append.committed = True

    def _write_or_make_room(self, name: str, appends: Sequence[Append]) -> None:
        try:
            self._write(name, appends)
        except TransientError as error:
            if error.reason != "DiskFull" or name not in ("p0", "p1"):
                raise
            if files.drop_ballast(self._folder):
                return self._write_or_make_room(name, appends)
            if not self._shed():
                raise
            self._write(name, appends)

    def _shed(self) -> bool:
        """Drop the oldest telemetry, else the oldest events; return whether there was any."""
        for name in ("p3", "p2"):
            stream = copy(self.streams[name])
            with self._database.transaction() as connection:
                dropped = [rows.drop_oldest(connection, stream, "DiskFull") for _ in range(SHED)]
                rows.save(connection, stream)
            self.streams[name] = stream
            if any(dropped):
                return True
        return False

    def _write(self, name: str, appends: Sequence[Append]) -> None:
        if name in ("p2", "p3"):
            files.check_reserve(self._folder, self._quotas.ballast)
        groups = _groups(name, appends)
        cursors = dict(append.cursor for append in appends if append.cursor is not None)
        stamp = self._stamp()
        stream = copy(self.streams[name])
        with self._database.transaction() as connection:
            for kind, key, encoded in groups:
                rows.insert(connection, stream, encoded, kind, stamp, key)
            connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", cursors.items())
            rows.evict(connection, stream, self._quotas.of(name))
            rows.save(connection, stream)
        self.streams[name] = stream
        self.cursors |= cursors

    def release(self, ack: StreamAck) -> tuple[bool, bool]:
        """Delete a part of what the hub has; return whether it is our history it speaks of, and whether more remains."""
        try:
            return self._release(ack)
        except TransientError as error:
            if error.reason != "DiskFull" or not files.drop_ballast(self._folder):
                raise
            return self._release(ack)

    def _release(self, ack: StreamAck) -> tuple[bool, bool]:
        stream = copy(self.streams[ack.stream])
        if ack.incarnation != stream.incarnation or ack.upto > stream.high:
            return False, False
        if ack.upto < stream.acked:
            return True, False
        chain = bytes.fromhex(ack.chain)
        if ack.upto == stream.acked:
            return chain in (b"", stream.anchor), False
        ends = self._ends[ack.stream]
        with self._database.transaction() as connection:
            if chain not in (ends.get(ack.upto), rows.chain_at(connection, stream, ack.upto)):
                return False, False
            more = rows.release(connection, stream, ack.upto, chain)
            rows.save(connection, stream)
        self.streams[ack.stream] = stream
        self._ends[ack.stream] = {last: end for last, end in ends.items() if last > stream.acked}
        files.load_ballast(self._folder, self._quotas.ballast)
        return True, more

    def fork(self, name: str) -> None:
        """Go on under a new incarnation, from what the hub has acknowledged; sequences and chain continue."""
        stream = copy(self.streams[name])
        with self._database.transaction() as connection:
            rows.fork(connection, stream)
            rows.save(connection, stream)
        self.streams[name] = stream

    def read(self, name: str, first: int, upto: int) -> Page | None:
        """Return a page, as `outbox_pages.read`; a damaged group becomes a tombstone on the way."""
        while True:
            try:
                with self._database.reading() as connection:
                    page = pages.read(connection, self.streams[name], first, upto)
                return self._noted(name, page)
            except PermanentError as error:
                if error.reason != "BrokenGroup":
                    raise
                stream = copy(self.streams[name])
                with self._database.transaction() as connection:
                    rows.drop(connection, stream, int(error.resource), "Damaged")
                    rows.save(connection, stream)
                self.streams[name] = stream

    def _noted(self, name: str, page: Page | None) -> Page | None:
        if page is not None:
            ends = self._ends[name]
            ends[page.last] = page.after
            if len(ends) > ENDS:
                del ends[next(iter(ends))]
        return page


def _fail(appends: Sequence[Append], error: HoldfastError) -> None:
    for append in appends:
        append.error = error


def _groups(name: str, appends: Sequence[Append]) -> list[tuple[str, str, Encoded]]:
    """Return kind, key and encoding of every group; a row of p1 is a group of its own, so that it can be replaced."""
    readings = [reading for append in appends for reading in append.readings]
    groups = [("readings", "", encoded) for encoded in reading_groups.encode(readings)]
    if name == "p1":
        for append in appends:
            for record, key in zip(append.records, append.keys, strict=True):
                groups += [("records", key, encoded) for encoded in record_groups.encode([record])]
        return groups
    records = [record for append in appends for record in append.records]
    return groups + [("records", "", encoded) for encoded in record_groups.encode(records)]
