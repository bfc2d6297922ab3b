"""Folders of ours: made or taken over, and taken away so that what stood there before stands there again.

A folder that existed before us keeps what is in it and gets its mode and owner back; one we made goes when it is empty.
Blocking: call from a thread.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Place, Roots
from holdfast_edge.providers.disk.ledger import Before, Entry, Ledger
from holdfast_edge.providers.disk.made import remove_made
from holdfast_edge.providers.disk.replace import KEEP
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.names import ResourceKey

NEW_MODE: Final = 0o755
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnedFolders:
    """One provider's folders. Every method raises ProviderError and may be called again after a kill at any point."""

    def __init__(self, ledger: Ledger, roots: Roots) -> None:
        self._ledger = ledger
        self._roots = roots
        self._lock = threading.Lock()

    def entry(self, path: str) -> Entry | None:
        return self._ledger.entries.get(path)

    def paths(self, key: ResourceKey | None = None) -> list[str]:
        """Return the paths that are ours, of one resource or of all."""
        return [path for path, entry in list(self._ledger.entries.items()) if key is None or entry.key == key]

    def several(self) -> dict[ResourceKey, list[str]]:
        return self._ledger.several()

    def put(self, key: ResourceKey, path: str, *, mode: int | None = None, uid: int = KEEP, gid: int = KEEP) -> None:
        """Make `path` a folder. What is not said stays as it is; a new one gets mode 0755."""
        place = self._roots.place(path)
        with self._lock, _typed(path):
            self._claim(key, place)
            with self._roots.parent(place, make=True) as parent:
                with suppress(FileExistsError):
                    os.mkdir(place.name, NEW_MODE, dir_fd=parent)
                    mode = NEW_MODE if mode is None else mode  # mkdir obeys the umask
                with _opened(parent, place) as folder:
                    _set(folder, mode, uid, gid)
                os.fsync(parent)

    def take_away(self, path: str) -> None:  # [inv: only-owned-things-are-removed]
        """Remove our folder if it is empty, or give back the mode and owner it had. What is not ours is left alone."""
        with self._lock, _typed(path):
            entry = self._ledger.entries.get(path)
            if entry is None:
                return
            if entry.before is None:
                entry = msgspec.structs.replace(entry, made=(*entry.made, path))
            else:
                place = self._roots.place(path)
                with suppress(FileNotFoundError), self._roots.parent(place) as parent, _opened(parent, place) as folder:
                    _set(folder, entry.before.mode, entry.before.uid, entry.before.gid)
            remove_made(self._ledger, self._roots, entry)
            self._ledger.forget(path)  # last: a kill before leaves the rest to be done

    def _claim(self, key: ResourceKey, place: Place) -> None:
        """Write the entry before anything else happens."""
        entry = self._ledger.entries.get(place.path)
        if entry is None:
            before = None
            with suppress(FileNotFoundError), self._roots.parent(place) as parent, _opened(parent, place) as folder:
                seen = os.fstat(folder)
                before = Before(mode=stat.S_IMODE(seen.st_mode), uid=seen.st_uid, gid=seen.st_gid)
            entry = Entry(path=place.path, key=key, before=before)
        missing = self._roots.missing(place)
        made = (*entry.made, *(each for each in missing if each not in entry.made))
        claimed = msgspec.structs.replace(entry, key=key, made=made)
        if claimed != self._ledger.entries.get(place.path):
            self._ledger.put(claimed)


def _set(folder: int, mode: int | None, uid: int, gid: int) -> None:
    seen = os.fstat(folder)
    itself = f"/proc/self/fd/{folder}"  # fchmod(2) takes no descriptor of O_PATH
    owner = KEEP if uid == seen.st_uid else uid, KEEP if gid == seen.st_gid else gid
    if owner != (KEEP, KEEP):
        os.chown(itself, *owner)
    if mode is not None and mode != stat.S_IMODE(os.fstat(folder).st_mode):  # after chown: it may clear bits
        os.chmod(itself, mode)
    with suppress(PermissionError):  # a folder we may not read is still ours to set
        readable = os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(readable)
        finally:
            os.close(readable)


@contextmanager
def _opened(parent: int, place: Place) -> Iterator[int]:
    try:
        folder = os.open(place.name, _FOLDER, dir_fd=parent)
    except NotADirectoryError:
        raise PermanentError(
            f"{place.path} is no folder", reason="NotAFolder", hint="move what stands there away"
        ) from None
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _typed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failures.provider_error(error, path) from error
