"""Side copies: small files beside the database that survive its damage, durable on return unless said otherwise."""

import os
from pathlib import Path
from typing import Final

from holdfast_edge.store.outbox_files import drop_ballast
from holdfast_protocol.errors import TransientError

TARGET: Final = "target.dsse"  # the last accepted target, the signed bytes as received
LAST_GOOD: Final = "last-good.dsse"  # the last stable target, the signed bytes as received
TRANSACTION: Final = "transaction.json"  # how far the newest target was, and the digests gone back from
OWNED: Final = "owned.jsonl"  # what is ours, with the bodies to remove it by
FLOOR: Final = "floor"  # what time it was at least, in seconds since 1970


def write(path: Path, data: bytes) -> None:
    """Replace the file, whole or not at all. Raises TransientError when the disk refuses."""
    beside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refused(path, error) from error


def append(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Add to the end of the file. Raises TransientError when the disk refuses."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(handle, "ab") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> TransientError:
    drop_ballast(path.parent)  # room for the next try
    return TransientError(f"{path}: {error.strerror}", reason="DiskFull", after=5)


def read(path: Path, limit: int) -> bytes:
    """Return the file's bytes, b"" when there is none, it is larger than `limit`, or the disk does not give it: there is
    the database, and an agent that does not start repairs nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return b""
    return data if len(data) <= limit else b""
