"""Replacing a file so that every reader, and every crash, sees the old one or the new one and nothing between."""

import hashlib
import os
from contextlib import suppress
from typing import Final

from holdfast_protocol.kinds.paths import TEMPORARY

KEEP: Final = -1  # a uid or gid: whatever the system gives


def temporary_name(name: str) -> str:
    """Return the one name a half-written `name` can have: what a killed agent left is found and taken away again."""
    return TEMPORARY + hashlib.sha256(name.encode()).hexdigest()[:24]


def replace_file(folder: int, name: str, content: bytes, *, mode: int, uid: int = KEEP, gid: int = KEEP) -> None:
    """Write `content` as `name` in the folder open as `folder`; durable on return. Raises OSError, leaving the old file."""
    temporary = temporary_name(name)
    remove_name(folder, temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if (uid, gid) != (KEEP, KEEP):
                os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)  # after fchown: it may clear bits
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            remove_name(folder, temporary)
        raise
    os.fsync(folder)


def replace_link(folder: int, name: str, target: str) -> None:
    """Put a symbolic link to `target` at `name`; durable on return."""
    temporary = temporary_name(name)
    remove_name(folder, temporary)
    os.symlink(target, temporary, dir_fd=folder)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def remove_name(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
