"""edge.db: opened, or when damaged set aside and begun anew; the side copies bring back what must not be lost."""

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from holdfast_edge.store.outbox_files import drop_ballast
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.runtime.sqlite import Database, migrations

T = TypeVar("T")
NAME: Final = "edge.db"
KEPT_DAMAGED: Final = 3


class Opened(msgspec.Struct, frozen=True):
    """The database, and what was wrong with the one before ("": nothing)."""

    database: Database
    damage: str = ""


def open_edge(folder: Path) -> Opened:
    """Open or create `folder`/edge.db. A damaged file is renamed to edge.db.damaged-N; PermanentError for any other
    trouble (a newer schema must not be thrown away)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / NAME
    try:
        return Opened(_database(path))
    except TransientError as error:
        if error.reason != "DiskFull":
            raise
        drop_ballast(folder)
        return Opened(_database(path))
    except PermanentError as error:
        if error.reason != "Damaged":
            raise
        return begin_anew(path, error)


def _database(path: Path) -> Database:
    """The outbox's ballast is room for this one too: a full disk stops no repair."""
    return Database(path, migrations("holdfast_edge.store"), on_full=lambda: drop_ballast(path.parent))


def begin_anew(path: Path, damage: PermanentError) -> Opened:
    """Set a closed, damaged database aside and open an empty one in its place."""
    aside = _set_aside(path)
    return Opened(_database(path), f"{damage.message}; set aside as {aside.name}")


def decoded(data: bytes, kind: type[T]) -> T:
    """Return a stored JSON value; PermanentError `Damaged` when the bytes are not what was written."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"{NAME} is damaged: {error}", reason="Damaged") from error


def _set_aside(path: Path) -> Path:
    numbers = sorted(
        int(number)
        for entry in path.parent.glob(f"{path.name}.damaged-*")
        if (number := entry.name.rpartition("-")[2]).isdigit()
    )
    for old in numbers[: -KEPT_DAMAGED + 1]:
        path.with_name(f"{path.name}.damaged-{old}").unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.damaged-{(numbers[-1] if numbers else 0) + 1}")
    path.rename(aside)
    # A log of the damaged file would be replayed into the new one.
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside
