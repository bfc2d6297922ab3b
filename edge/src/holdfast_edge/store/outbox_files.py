"""The files around the outbox's database: its identity on the side, what was put aside, and ballast for a full disk."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

from holdfast_protocol.errors import TransientError

KEPT: Final = 3  # databases put aside; older ones go
_PARTS: Final = ("", "-wal", "-shm")


def read_opening(folder: Path) -> str:
    """Return the identity on the side, "" when there is none."""
    try:
        return (folder / "outbox.opening").read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def write_opening(folder: Path, opening: str) -> None:
    """Replace the identity on the side; durable on return. Raises TransientError when the disk refuses."""
    temporary = folder / "outbox.opening.new"
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(opening)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / "outbox.opening")
        sync_folder(folder)
    except OSError as error:
        raise TransientError(f"{temporary}: {error.strerror}", reason="DiskFull", after=5) from error


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_aside(database: Path) -> Path:
    """Move a database that may not be used out of the way and return where it went."""
    taken = sorted(
        (path for path in database.parent.glob(f"{database.name}.aside-*") if path.suffix.rpartition("-")[2].isdigit()),
        key=lambda path: int(path.suffix.rpartition("-")[2]),
    )
    number = int(taken[-1].suffix.rpartition("-")[2]) + 1 if taken else 1
    for path in taken[: max(len(taken) - KEPT + 1, 0)]:
        for part in _PARTS:
            path.with_name(path.name + part).unlink(missing_ok=True)
    aside = database.with_name(f"{database.name}.aside-{number}")
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + part).rename(aside.with_name(aside.name + part))
    sync_folder(database.parent)
    return aside


def load_ballast(folder: Path, size: int) -> None:
    """Reserve `size` bytes of disk, unless they are reserved or the disk has not four times as much."""
    path = folder / "outbox.ballast"
    if size == 0 or path.exists() or shutil.disk_usage(folder).free < 4 * size:
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:  # the room went while it was taken: there is none to reserve
        path.unlink(missing_ok=True)


def check_reserve(folder: Path, size: int) -> None:
    """Raise TransientError `DiskFull` for what must leave the last `size` bytes of a disk to reports and repairs.

    While the ballast is there it is the reserve; once it was given back, free space is."""
    if size and not (folder / "outbox.ballast").exists() and shutil.disk_usage(folder).free < size:
        raise TransientError(f"{folder}: the last {size} bytes are for reports", reason="DiskFull", after=5)


def drop_ballast(folder: Path) -> bool:
    """Give the reserved bytes back to the disk; return whether there were any."""
    try:
        (folder / "outbox.ballast").unlink()
    except FileNotFoundError:
        return False
    return True
