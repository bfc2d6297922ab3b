"""The one door to SQLite: a database is one file, one connection that writes, one thread that uses it.

`synchronous=FULL` in WAL mode: a commit that returned survives a power cut. Versions below 3.51.3 can corrupt a WAL file
with several writing connections, hence one. [inv: one-writer-per-database]
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
import msgspec

from holdfast_protocol.errors import MisuseError, PermanentError, TransientError

P = ParamSpec("P")
R = TypeVar("R")


class Migration(msgspec.Struct, frozen=True):
    number: int  # 1 upwards without gaps
    name: str
    sql: str


def migrations(package: str, folder: str = "schema") -> tuple[Migration, ...]:
    """Return the numbered schema files (0001_initial.sql …) of a package's folder, one folder per database."""
    found = []
    for entry in sorted((resources.files(package) / folder).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MisuseError(f"{package}: schema files are not numbered 1 upwards")
    return tuple(found)


class Database:
    """One SQLite file. Synchronous use is for the thread that holds it; `call` is for the event loop.

    INVARIANTS:
    - one connection writes; it is used by one thread at a time (`_lock`);
    - a transaction is all or nothing, and never nested;
    - `call` runs in order of arrival, one at a time.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[Migration],
        *,
        max_bytes: int = 0,
        on_full: Callable[[], object] = lambda: None,
        shrinks: bool = False,
    ) -> None:
        """Open and migrate. `max_bytes` bounds the file (0: no bound); `on_full` is called when a transaction found no
        room, and may make some for the next try. `shrinks`: a new file can give back room by PRAGMA incremental_vacuum.
        Raises PermanentError `Damaged` or `NewerSchema`."""
        self.path = path
        self._on_full = on_full
        self._lock = threading.RLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{path.stem}")
        try:
            self._open(path, schema, max_bytes, shrinks)
        except sqlite3.DatabaseError as error:
            self._thread.shutdown()
            raise classified(error, path) from error
        except BaseException:
            self._thread.shutdown()
            raise

    def _open(self, path: Path, schema: Sequence[Migration], max_bytes: int, shrinks: bool) -> None:
        with contextlib.suppress(OSError):  # what is wrong with the path, SQLite says
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # secrets are in it
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            run = self._connection.execute
            if shrinks:
                run("PRAGMA auto_vacuum=INCREMENTAL")  # heeded before the first page is written only
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA synchronous=FULL")
            run("PRAGMA foreign_keys=ON")
            run("PRAGMA busy_timeout=5000")
            run("PRAGMA journal_size_limit=4194304")
            if max_bytes:
                size = int(run("PRAGMA page_size").fetchone()[0])
                run(f"PRAGMA max_page_count={max(max_bytes // size, 64)}")
            damage = run("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise PermanentError(f"{path} is damaged: {damage}", reason="Damaged")
            self._migrate(schema)
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, schema: Sequence[Migration]) -> None:
        held = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if held > len(schema):
            raise PermanentError(
                f"{self.path} has schema {held}, this version knows {len(schema)}",
                reason="NewerSchema",
                hint="start the newer version again, or restore the copy made before it",
            )
        with self.transaction() as connection:
            for migration in schema[held:]:
                for statement in _statements(migration.sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={migration.number}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside one immediate transaction; commit at the end, roll back on any error."""
        with self._lock:
            if self._connection.in_transaction:
                raise MisuseError("transactions do not nest")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                if isinstance(error, sqlite3.IntegrityError):
                    raise
                found = classified(error, self.path)
                if found.reason == "DiskFull":
                    self._on_full()
                raise found from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for reads that need no transaction."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.DatabaseError as error:
                raise classified(error, self.path) from error

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` in this database's thread and return its result. It finishes even when the caller is cancelled."""
        # Not a callback that calls into the loop: for a future that is done already it would run in the loop's own thread
        # and wait there for itself.
        future = asyncio.wrap_future(self._thread.submit(function, *args, **kwargs))
        with anyio.CancelScope(shield=True):
            await asyncio.wait([future])
        return future.result()

    def close(self) -> None:
        """Checkpoint and close. Waits for what is running."""
        self._thread.shutdown(wait=True)
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, for inspection beside the process that does."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def classified(error: sqlite3.Error, path: Path) -> TransientError | PermanentError:
    """Return what an SQLite error means for us: full and busy pass, damage does not."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return TransientError(f"{path}: {error}", reason="DiskFull", after=5, hint="free space on the disk")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TransientError(f"{path}: {error}", reason="Busy", after=1)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PermanentError(f"{path} is damaged: {error}", reason="Damaged")
    return PermanentError(f"{path}: {error}", reason="Database")


def _statements(sql: str) -> Iterator[str]:
    """Split a schema file; `executescript` would commit behind our transaction."""
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip() and not all(line.lstrip().startswith("--") for line in pending.splitlines() if line.strip()):
        raise MisuseError(f"schema ends inside a statement: {pending.strip()[:80]}")
