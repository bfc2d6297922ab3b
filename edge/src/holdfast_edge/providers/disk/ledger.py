"""The ledger: which files are ours, whose they are, and what stood there before us. One small file each, written before
the effect it tells of, so that a kill at any point leaves nothing ours unknown. Blocking: call from a thread."""

import hashlib
import os
import threading
from pathlib import Path

import msgspec

from holdfast_edge.providers.disk.replace import remove_name, replace_file
from holdfast_protocol.kinds.paths import TEMPORARY
from holdfast_protocol.wire.names import ResourceKey


class Before(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stood at the path before us: a file (its content is kept beside the entry) or a link to `target`."""

    mode: int = 0
    uid: int = 0
    gid: int = 0
    target: str = ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    path: str
    key: ResourceKey
    made: tuple[str, ...] = ()  # folders we made on the way, outermost first
    before: Before | None = None  # None: nothing stood there
    note: str = ""  # the provider's own: what it has put into effect


class Ledger:
    """Entries by path. A damaged entry is set aside as `*.damaged`: what it told of is no longer ours to remove."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, Entry] | None = None
        self._lock = threading.Lock()

    @property
    def entries(self) -> dict[str, Entry]:
        with self._lock:
            if self._entries is None:
                make_folder(self._folder)
                files = sorted(self._folder.glob("*.json"))
                self._entries = {entry.path: entry for entry in map(_read, files) if entry}
                _clear_up(self._folder)
            return self._entries

    def several(self) -> dict[ResourceKey, list[str]]:
        """Return the resources with more than one path: of one that moved, the way it was left is still to be cleared."""
        found: dict[ResourceKey, list[str]] = {}
        for path, entry in list(self.entries.items()):
            found.setdefault(entry.key, []).append(path)
        return {key: paths for key, paths in found.items() if len(paths) > 1}

    def put(self, entry: Entry, content: bytes | None = None) -> None:
        """Record `entry`, with the content that stood there before. Durable on return."""
        entries = self.entries
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if content is not None:
                replace_file(fd, f"{_stem(entry.path)}.before", content, mode=0o600)
            replace_file(fd, f"{_stem(entry.path)}.json", msgspec.json.encode(entry), mode=0o600)
        finally:
            os.close(fd)
        entries[entry.path] = entry

    def forget(self, path: str) -> None:
        entries = self.entries
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_name(fd, f"{_stem(path)}.json")  # first: content without an entry is only litter
            remove_name(fd, f"{_stem(path)}.before")
            os.fsync(fd)
        finally:
            os.close(fd)
        entries.pop(path, None)

    def content_before(self, path: str) -> bytes:
        return (self._folder / f"{_stem(path)}.before").read_bytes()


def make_folder(folder: Path) -> None:
    """Make the folder and those above it, each durable in its own: a ledger that is lost with its folder knows nothing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _clear_up(folder: Path) -> None:
    """Remove what a kill left: half-written files, and contents whose entry was never written."""
    for path in list(folder.iterdir()):
        told = path.with_suffix(".json").exists() or path.with_suffix(".damaged").exists()
        if path.name.startswith(TEMPORARY) or (path.suffix == ".before" and not told):
            path.unlink(missing_ok=True)


def _stem(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def _read(file: Path) -> Entry | None:
    try:
        entry = msgspec.json.decode(file.read_bytes(), type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        file.rename(file.with_suffix(".damaged"))
        return None
    return entry
