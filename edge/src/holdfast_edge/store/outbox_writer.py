"""The half of the outbox that runs in the database's thread: one transaction for all who wait, then the next."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.store import outbox_files as files
from holdfast_edge.store import outbox_pages as pages
from holdfast_edge.store import outbox_rows as rows
from holdfast_edge.store import outbox_sent as sent
from holdfast_edge.store import outbox_thinning as thinning
from holdfast_edge.store import outbox_tiers as tiers
from holdfast_edge.store.outbox_state import Loss, Page, Quotas, Stream
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
EXPIRED_AT_ONCE: Final = 64  # groups dropped in one transaction because their time is over
GRAINS: Final = 16  # a time to live is kept to so many parts of it, so that neighbours can be one group


class Append(msgspec.Struct, eq=False):
    """What one producer waits for: readings or records, and where it then stands (values by name)."""

    readings: Sequence[Reading] = ()
    records: Sequence[Record] = ()
    keys: Sequence[str] = ()  # one a row in p1, else none
    ttl: int = 0  # milliseconds these rows are worth sending; 0: for ever
    cursors: Mapping[str, bytes] = {}
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
            self.losses: dict[str, dict[str, Loss]] = rows.losses(connection)
            self.odometer = rows.odometer(connection)
        self._folder = folder
        self._database = database
        self.quotas = quotas
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
            files.check_reserve(self._folder, self.quotas.ballast)
        groups = [(*group, ttl) for ttl, alike in _by_ttl(appends).items() for group in _groups(name, alike)]
        cursors = {name: value for append in appends for name, value in append.cursors.items()}
        stamp = self._stamp()
        odometer = self.odometer.at(stamp.boot_id, stamp.boottime)
        stream = copy(self.streams[name])
        with self._database.transaction() as connection:
            for kind, key, encoded, ttl in groups:
                rows.insert(connection, stream, encoded, kind, stamp, key, _end(odometer.total, ttl))
            connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", cursors.items())
            rows.expire(connection, stream, odometer.total, EXPIRED_AT_ONCE)
            tiers.merge(connection, stream)
            if name == "p3":
                thinning.make_room(connection, stream, self.quotas.p3)
            else:
                rows.evict(connection, stream, self.quotas.of(name))
            rows.save(connection, stream)
            rows.save_odometer(connection, odometer)
            losses = self._losses_of(connection, stream)
        self.streams[name], self.losses, self.odometer = stream, losses, odometer
        self.cursors |= cursors

    def _losses_of(self, connection: sqlite3.Connection, stream: Stream) -> dict[str, dict[str, Loss]]:
        """Return what was ever dropped, read anew only when this transaction dropped something."""
        if stream.dropped == self.streams[stream.stream].dropped:
            return self.losses
        return rows.losses(connection)

    def tidy(self) -> bool:
        """Drop what has expired and note how long the node has run; return whether there may be more to drop."""
        stamp, more = self._stamp(), False
        odometer = self.odometer.at(stamp.boot_id, stamp.boottime)
        streams = {name: copy(stream) for name, stream in self.streams.items()}
        with self._database.transaction() as connection:
            for stream in streams.values():
                more = rows.expire(connection, stream, odometer.total, EXPIRED_AT_ONCE) or more
                rows.save(connection, stream)
            rows.save_odometer(connection, odometer)
            losses = rows.losses(connection)
        self.streams, self.losses, self.odometer = streams, losses, odometer
        files.load_ballast(self._folder, self.quotas.ballast)
        return more

    def spend(self, size: int) -> None:
        """Count bytes of history against today's budget, before they are sent."""
        stamp = self._stamp()
        odometer = self.odometer.at(stamp.boot_id, stamp.boottime)
        odometer = msgspec.structs.replace(odometer, spent=odometer.spent + size)
        with self._database.transaction() as connection:
            rows.save_odometer(connection, odometer)
        self.odometer = odometer

    def settle(self) -> None:
        """The link is gone: what comes from now on has not been sent."""
        for name in tiers.MERGED:
            stream = copy(self.streams[name])
            sent.settle(stream)
            self._save_sent(stream)

    def _save_sent(self, stream: Stream) -> None:
        try:
            with self._database.transaction() as connection:
                sent.save(connection, stream)
        except TransientError as error:
            # A full disk must still be emptied. Without the note, and after a kill, a group sent could be written anew:
            # the hub would call that a fork, and all of it go again under another name.
            if error.reason != "DiskFull":
                raise
            files.drop_ballast(self._folder)
        self.streams[stream.stream] = stream

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
        files.load_ballast(self._folder, self.quotas.ballast)
        return True, more

    def fork(self, name: str, incarnation: str) -> None:
        """Go on under a new incarnation, from what the hub has acknowledged; sequences and chain continue.

        Nothing when `incarnation` is not the present one: the hub says a fork as often as it meets one."""
        stream = copy(self.streams[name])
        if stream.incarnation != incarnation:
            return
        with self._database.transaction() as connection:
            rows.fork(connection, stream)
            rows.save(connection, stream)
        self.streams[name] = stream

    def read(self, name: str, first: int, upto: int, size: int) -> Page | None:
        """Return a page, as `outbox_pages.read`; a damaged group, or a lost one, becomes a tombstone on the way.

        What is returned counts as sent, durably, before it is.
        """
        while True:
            try:
                with self._database.reading() as connection:
                    page = pages.read(connection, self.streams[name], first, upto, size)
                return self._noted(name, page)
            except PermanentError as error:
                if error.reason not in ("BrokenGroup", "Hole"):
                    raise
                stream = copy(self.streams[name])
                with self._database.transaction() as connection:
                    if error.reason == "Hole":
                        rows.fill(connection, stream, int(error.resource))
                    else:
                        rows.drop(connection, stream, int(error.resource), "Damaged")
                    rows.save(connection, stream)
                self.streams[name] = stream

    def _noted(self, name: str, page: Page | None) -> Page | None:
        if page is not None:
            if name in tiers.MERGED and not sent.covers(self.streams[name], page.first, page.last):
                stream = copy(self.streams[name])
                sent.cover(stream, page.first, page.last)
                self._save_sent(stream)
            ends = self._ends[name]
            ends[page.last] = page.after
            if len(ends) > ENDS:
                del ends[next(iter(ends))]
        return page


def _fail(appends: Sequence[Append], error: HoldfastError) -> None:
    for append in appends:
        append.error = error


def _by_ttl(appends: Sequence[Append]) -> dict[int, list[Append]]:
    found: dict[int, list[Append]] = {}
    for append in appends:
        found.setdefault(append.ttl, []).append(append)
    return found


def _end(now: int, ttl: int) -> int:
    """Return when rows expire by the odometer, up to a sixteenth of their time later than asked; 0: never."""
    grain = max(ttl // GRAINS, 1)
    return -(-(now + ttl) // grain) * grain if ttl else 0


def _groups(name: str, appends: Sequence[Append]) -> list[tuple[str, str, Encoded]]:
    """Return kind, key and encoding of every group; a row of p1 is a group of its own, so that it can be replaced."""
    if name == "p1":
        return [group for append in appends for group in _keyed(append)]
    readings = [reading for append in appends for reading in append.readings]
    records = [record for append in appends for record in append.records]
    groups = [("readings", "", encoded) for encoded in reading_groups.encode(readings)]
    return groups + [("records", "", encoded) for encoded in record_groups.encode(records)]


def _keyed(append: Append) -> Iterator[tuple[str, str, Encoded]]:
    keys = iter(append.keys)
    for reading in append.readings:
        yield "readings", next(keys), reading_groups.encode([reading])[0]
    for record in append.records:
        yield "records", next(keys), record_groups.encode([record])[0]
