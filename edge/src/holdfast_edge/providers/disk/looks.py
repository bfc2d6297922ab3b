"""What stands at a path now, cheap enough to ask always: an unchanged file costs one lstat."""

import hashlib
import os
import stat
import time
from typing import Final, Literal

import msgspec

Signature = tuple[int, int, int, int, int, int, int, int]
_SETTLED_NS: Final = 2_000_000_000  # the coarsest clock of a file system in use (FAT) ticks every two seconds


class Look(msgspec.Struct, frozen=True):
    """One file as it stands; `digest` is "" when its size already says that it differs."""

    kind: Literal["file", "link", "other"]
    digest: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0  # bytes


class Looks:
    """Remembers content digests by what lstat says. Blocking: call from a thread."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Signature, Look]] = {}
        self.reads = 0  # files opened so far: what the cache did not save

    def look(self, path: str, size: int) -> Look | None:
        """Return what is at `path`, None for nothing; content of another size than `size` bytes is not read."""
        try:
            now = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            self._seen.pop(path, None)
            return None
        signature = _signature(now)
        known = self._seen.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        found = self._read(path, now, size)
        # A file changed within its clock's last tick could change again and look the same: remembered only when older.
        if abs(time.time_ns() - now.st_ctime_ns) > _SETTLED_NS and now.st_size == size:
            self._seen[path] = (signature, found)
        else:
            self._seen.pop(path, None)
        return found

    def keep_only(self, paths: set[str]) -> None:
        """Forget all others, so that the memory is bounded by what is looked at."""
        if len(self._seen) > len(paths):
            self._seen = {path: seen for path, seen in self._seen.items() if path in paths}

    def _read(self, path: str, now: os.stat_result, size: int) -> Look:
        facts = Look("file", mode=stat.S_IMODE(now.st_mode), uid=now.st_uid, gid=now.st_gid, size=now.st_size)
        if stat.S_ISLNK(now.st_mode):
            return msgspec.structs.replace(facts, kind="link")
        if not stat.S_ISREG(now.st_mode):
            return msgspec.structs.replace(facts, kind="other")
        if now.st_size != size:
            return facts
        self.reads += 1
        # O_NONBLOCK: should a pipe have taken the file's place meanwhile, opening it must not wait for a writer
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb", closefd=True) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return msgspec.structs.replace(facts, kind="other")
            content = file.read(size + 1)
        return msgspec.structs.replace(facts, digest=hashlib.sha256(content).hexdigest())


def _signature(seen: os.stat_result) -> Signature:
    return (
        seen.st_mtime_ns,
        seen.st_ctime_ns,
        seen.st_ino,
        seen.st_dev,
        seen.st_size,
        seen.st_mode,
        seen.st_uid,
        seen.st_gid,
    )
