"""The queue of a bridge: numbered, bounded, on disk. What goes over is here from before it is acknowledged on one side
until it is on the other. [inv: commit-before-ack, every-loss-is-counted]

Time is what the bridge has run, not what a clock says: while a node is off nothing gets older.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.bridging.standing import WAYS, Stand, Way
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.sqlite import Database, migrations

OVERHEAD: Final = 64  # bytes a message counts for besides its own
AT_ONCE: Final = 1_000  # messages dropped in one step
PAGE: Final = 2 * 1024 * 1024  # bytes of messages read at once


class Entry(msgspec.Struct, frozen=True):
    """A message to go over, its topic that of the other side."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    mark: str = ""

    @property
    def size(self) -> int:
        return len(self.topic.encode("utf-8", "replace")) + len(self.payload) + len(self.mark) + OVERHEAD


class Row(msgspec.Struct, frozen=True):
    number: int
    entry: Entry


class Bounds(msgspec.Struct, frozen=True):
    """Of each way. `ttl` in milliseconds, 0: any."""

    bytes: int
    messages: int
    drop: Literal["oldest", "newest"] = "oldest"
    ttl: int = 0


class Queue:
    """Synchronous: call through `database.call`.

    INVARIANT: while a connection lives, nothing that `page` handed out for it is dropped, so that what was sent is never
    counted as lost: `_held` is the highest of its numbers.
    """

    def __init__(self, database: Database, bounds: Bounds, clock: Clock, damage: str = "") -> None:
        self.database = database
        self.damage = damage
        self._held: dict[Way, int] = {"out": 0, "in": 0}
        self._bounds = bounds
        self._clock = clock
        self._started = clock.boottime()
        self._ran_before = int(self.note("ran") or b"0")

    def ran(self) -> int:
        """Return the milliseconds the bridge has run in all, this run included."""
        return self._ran_before + int((self._clock.boottime() - self._started) * 1000)

    def note(self, name: str) -> bytes:
        with self.database.reading() as connection:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else b""

    def keep_note(self, name: str, value: bytes) -> None:
        with self.database.transaction() as connection:
            _keep(connection, name, value)

    def put(
        self,
        way: Way,
        entries: Sequence[Entry],
        losses: Iterable[tuple[str, int, int]] = (),
        notes: Mapping[str, bytes] = {},
    ) -> Stand:
        """Take entries in, and count what was not taken (reason, messages, bytes) and what had to go; all of it or nothing.

        Raises TransientError `DiskFull`.
        """
        lost = list(losses)
        born = self.ran()
        with self.database.transaction() as connection:
            sizes = [each.size for each in entries]
            connection.executemany(
                "INSERT INTO messages (way, topic, payload, qos, retain, mark, born, size) VALUES (?,?,?,?,?,?,?,?)",
                [
                    (way, each.topic, each.payload, each.qos, each.retain, each.mark, born, size)
                    for each, size in zip(entries, sizes, strict=True)
                ],
            )
            connection.execute(
                "UPDATE counters SET received = received + ?, waiting = waiting + ?, bytes = bytes + ? WHERE way = ?",
                (len(entries) + sum(count for _, count, _ in lost), len(entries), sum(sizes), way),
            )
            for reason, count, size in lost:
                _drop(connection, way, reason, count, size)
            self._bound(connection, way)
            for name, value in notes.items():
                _keep(connection, name, value)
            _keep(connection, "ran", b"%d" % born)
            return _stand(connection, way)

    def page(self, way: Way, after: int, limit: int, size: int = PAGE) -> list[Row]:
        """Return the messages after a number, oldest first, of `size` bytes or one, and hold them and all before."""
        with self.database.reading() as connection:
            rows: list[list[Any]] = []
            held = 0
            for *row, each in connection.execute(
                "SELECT number, topic, payload, qos, retain, mark, size FROM messages WHERE way = ? AND number > ?"
                " ORDER BY number LIMIT ?",
                (way, after, limit),
            ):
                held += each
                if rows and held > size:
                    break
                rows.append(row)
        if rows:
            self._held[way] = rows[-1][0]
        return [
            Row(number, Entry(topic, payload, qos, bool(retain), mark))
            for number, topic, payload, qos, retain, mark in rows
        ]

    def let_go(self, way: Way) -> None:
        """Hold nothing any more: the connection is gone."""
        self._held[way] = 0

    def settle(self, way: Way, sent: Sequence[int], refused: Sequence[tuple[int, str]] = ()) -> Stand:
        """Let go what the other side has, and what it never will have (number, reason)."""
        with self.database.transaction() as connection:
            count, size = _take_away(connection, way, sent)
            connection.execute("UPDATE counters SET sent = sent + ? WHERE way = ?", (count, way))
            for number, reason in refused:
                count, size = _take_away(connection, way, [number])
                _drop(connection, way, reason, count, size)
            return _stand(connection, way)

    def rewrite(self, way: Way, make: Callable[[Entry], Entry | str]) -> None:
        """Put what `make` returns in the place of each message that waits, or drop it for the reason it returns. What it
        made before, when a cut came between, it is to return as it is. No connection lives meanwhile."""
        after = 0
        while rows := self.page(way, after, AT_ONCE):
            after = rows[-1].number
            with self.database.transaction() as connection:
                for row in rows:
                    number, entry, made = row.number, row.entry, make(row.entry)
                    if isinstance(made, str):
                        _drop(connection, way, made, *_take_away(connection, way, [number]))
                    elif made != entry:
                        connection.execute(
                            "UPDATE messages SET topic = ?, payload = ?, qos = ?, retain = ?, mark = ?, size = ?"
                            " WHERE number = ?",
                            (made.topic, made.payload, made.qos, made.retain, made.mark, made.size, number),
                        )
                        grown = made.size - entry.size
                        connection.execute("UPDATE counters SET bytes = bytes + ? WHERE way = ?", (grown, way))
        self.let_go(way)

    def tidy(self) -> dict[Way, Stand]:
        """Drop what is too old, note how long the bridge has run, and return how each way stands."""
        with self.database.transaction() as connection:
            if self._bounds.ttl:
                for way in WAYS:
                    self._expire(connection, way)
            _keep(connection, "ran", b"%d" % self.ran())
            return {way: _stand(connection, way) for way in WAYS}

    def close(self) -> None:
        """Close, whatever the disk says."""
        with contextlib.suppress(sqlite3.Error, TransientError, PermanentError):
            self.tidy()
        self.database.close()

    def _expire(self, connection: sqlite3.Connection, way: Way) -> None:
        before = self.ran() - self._bounds.ttl
        while True:
            rows = connection.execute(
                "SELECT number, born FROM messages WHERE way = ? AND number > ? ORDER BY number LIMIT ?",
                (way, self._held[way], AT_ONCE),
            ).fetchall()
            old = [number for number, born in rows if born < before]
            if old:
                _drop(connection, way, "Expired", *_take_away(connection, way, old))
            if len(old) < AT_ONCE:
                return

    def _bound(self, connection: sqlite3.Connection, way: Way) -> None:
        """Drop until there is room: the oldest that are not on their way, or the newest."""
        bounds = self._bounds
        while True:
            waiting, size = connection.execute("SELECT waiting, bytes FROM counters WHERE way = ?", (way,)).fetchone()
            over, excess = waiting - bounds.messages, size - bounds.bytes
            if over <= 0 and excess <= 0:
                return
            order = "ASC" if bounds.drop == "oldest" else "DESC"
            rows = connection.execute(
                f"SELECT number, size FROM messages WHERE way = ? AND number > ? ORDER BY number {order} LIMIT ?",  # noqa: S608 (constants)
                (way, self._held[way], AT_ONCE),
            ).fetchall()
            if not rows:  # all of it is on its way: there is no room to be made
                return
            gone: list[int] = []
            for number, each in rows:
                if len(gone) >= over and excess <= 0:
                    break
                gone.append(number)
                excess -= each
            _drop(connection, way, "Overflow", *_take_away(connection, way, gone))


def open_queue(path: Path, bounds: Bounds, clock: Clock) -> Queue:
    """Open the queue in a file, made where there is none; a damaged one is set aside as FILE.damaged. Blocks.

    Raises TransientError `DiskFull`, PermanentError `NewerSchema`.
    """
    try:
        return _opened(path, bounds, clock)
    except OSError as error:
        raise TransientError(f"{path}: {error.strerror or error}", reason="DiskFull", after=5) from error


def _opened(path: Path, bounds: Bounds, clock: Clock) -> Queue:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    schema = migrations("holdfast_protocol.relay")
    try:
        return Queue(Database(path, schema), bounds, clock)
    except PermanentError as error:
        if error.reason != "Damaged":
            raise
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        for end in ("-wal", "-shm"):
            Path(f"{path}{end}").unlink(missing_ok=True)
        return Queue(Database(path, schema), bounds, clock, damage=f"{error.message}; set aside as {aside.name}")


def _take_away(connection: sqlite3.Connection, way: Way, numbers: Sequence[int]) -> tuple[int, int]:
    """Delete messages that are there and return how many, and how large, they were."""
    count = size = 0
    for number in numbers:
        row = connection.execute("DELETE FROM messages WHERE number = ? RETURNING size", (number,)).fetchone()
        if row is not None:
            count, size = count + 1, size + int(row[0])
    connection.execute("UPDATE counters SET waiting = waiting - ?, bytes = bytes - ? WHERE way = ?", (count, size, way))
    return count, size


def _drop(connection: sqlite3.Connection, way: Way, reason: str, count: int, size: int) -> None:
    if count:
        connection.execute(
            "INSERT INTO dropped (way, reason, count, bytes) VALUES (?,?,?,?) ON CONFLICT (way, reason)"
            " DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes",
            (way, reason, count, size),
        )


def _keep(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", (name, value))


def _stand(connection: sqlite3.Connection, way: Way) -> Stand:
    received, sent, waiting, size = connection.execute(
        "SELECT received, sent, waiting, bytes FROM counters WHERE way = ?", (way,)
    ).fetchone()
    first = connection.execute("SELECT born FROM messages WHERE way = ? ORDER BY number LIMIT 1", (way,)).fetchone()
    rows = connection.execute("SELECT reason, count FROM dropped WHERE way = ?", (way,))
    return Stand(received, sent, waiting, size, int(first[0]) if first else -1, dict(rows.fetchall()))
