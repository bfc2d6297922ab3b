"""Files of ours: written, remembered, and taken away so that what stood there before stands there again.

A file that existed before us is taken over: its content, mode and owner are kept in the ledger and come back when ours
goes. Folders made on the way go when they are empty. Blocking: call from a thread.
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
from holdfast_edge.providers.disk.replace import KEEP, remove_name, replace_file, replace_link, temporary_name
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.names import ResourceKey

MAX_BEFORE: Final = 16 * 1024 * 1024  # bytes of a file taken over


class Owned:
    """One provider's files. Every method raises ProviderError and may be called again after a kill at any point."""

    def __init__(self, ledger: Ledger, roots: Roots) -> None:
        self._ledger = ledger
        self._roots = roots
        self._lock = threading.Lock()  # two files may share a folder that one of them makes

    def entry(self, path: str) -> Entry | None:
        return self._ledger.entries.get(path)

    def paths(self, key: ResourceKey | None = None) -> list[str]:
        """Return the paths that are ours, of one resource or of all."""
        return [path for path, entry in list(self._ledger.entries.items()) if key is None or entry.key == key]

    def several(self) -> dict[ResourceKey, list[str]]:
        return self._ledger.several()

    def put(
        self,
        key: ResourceKey,
        path: str,
        content: bytes,
        *,
        mode: int | None = None,
        uid: int = KEEP,
        gid: int = KEEP,
        new_mode: int = 0o644,
        keep_before: bool = True,
        note: str = "",
    ) -> None:
        """Make `path` a file with this content. Without `mode`, `uid`, `gid` an existing file keeps its own and a new
        one gets `new_mode`. With `keep_before` false what stands there counts as ours."""
        place = self._roots.place(path)
        with self._lock, _typed(path):
            standing = self._claim(key, place, keep_before=keep_before, note=note)
            if standing is not None and stat.S_ISREG(standing.st_mode):
                mode = stat.S_IMODE(standing.st_mode) & 0o777 if mode is None else mode
                if os.geteuid() == 0:  # nobody else can give files away
                    uid = standing.st_uid if uid == KEEP else uid
                    gid = standing.st_gid if gid == KEEP else gid
            with self._roots.parent(place, make=True) as folder:
                replace_file(folder, place.name, content, mode=new_mode if mode is None else mode, uid=uid, gid=gid)

    def put_link(self, key: ResourceKey, path: str, target: str) -> None:
        """Make `path` a symbolic link to `target`; what stood there is kept as with a file."""
        place = self._roots.place(path)
        with self._lock, _typed(path):
            self._claim(key, place, keep_before=True, note="")
            with self._roots.parent(place, make=True) as folder:
                replace_link(folder, place.name, target)

    def annotate(self, path: str, note: str) -> None:
        """Replace the note of an entry; no effect when it says so already."""
        with self._lock, _typed(path):
            entry = self._ledger.entries[path]
            if entry.note != note:
                self._ledger.put(msgspec.structs.replace(entry, note=note))

    def take_away(self, path: str) -> None:  # [inv: only-owned-things-are-removed]
        """Remove our file, or put back what stood there. A path that is not ours is left alone."""
        with self._lock, _typed(path):
            entry = self._ledger.entries.get(path)
            if entry is None:
                return
            place = self._roots.place(path)
            with suppress(FileNotFoundError), self._roots.parent(place, make=entry.before is not None) as folder:
                remove_name(folder, temporary_name(place.name))
                self._restore(folder, place, entry)
            remove_made(self._ledger, self._roots, entry)
            self._ledger.forget(path)  # last: a kill before leaves the rest to be done

    def _claim(self, key: ResourceKey, place: Place, *, keep_before: bool, note: str) -> os.stat_result | None:
        """Write the entry before anything else happens; return what stands at the path."""
        standing: os.stat_result | None = None
        content: bytes | None = None
        before: Before | None = None
        entry = self._ledger.entries.get(place.path)
        with suppress(FileNotFoundError), self._roots.parent(place) as folder:
            standing = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
            if not (stat.S_ISREG(standing.st_mode) or stat.S_ISLNK(standing.st_mode)):
                raise PermanentError(
                    f"{place.path} is neither a file nor a link", reason="NotAFile", hint="move what stands there away"
                )
            if entry is None and keep_before:
                before, content = _before(folder, place, standing)
        missing = self._roots.missing(place)
        if entry is None:
            entry = Entry(path=place.path, key=key, before=before)
        made = (*entry.made, *(each for each in missing if each not in entry.made))
        claimed = msgspec.structs.replace(entry, key=key, made=made, note=note)
        if claimed != self._ledger.entries.get(place.path):
            self._ledger.put(claimed, content)
        return standing

    def _restore(self, folder: int, place: Place, entry: Entry) -> None:
        with suppress(FileNotFoundError):
            standing = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
            if not (stat.S_ISREG(standing.st_mode) or stat.S_ISLNK(standing.st_mode)):
                return  # somebody's folder or device stands there now: not what we made
        before = entry.before
        if before is None:
            remove_name(folder, place.name)
            os.fsync(folder)
        elif before.target:
            replace_link(folder, place.name, before.target)
        else:
            content = self._ledger.content_before(place.path)
            uid, gid = (before.uid, before.gid) if os.geteuid() == 0 else (KEEP, KEEP)
            replace_file(folder, place.name, content, mode=before.mode, uid=uid, gid=gid)


def _before(folder: int, place: Place, standing: os.stat_result) -> tuple[Before, bytes | None]:
    if stat.S_ISLNK(standing.st_mode):
        return Before(target=os.readlink(place.name, dir_fd=folder)), None
    if standing.st_size > MAX_BEFORE:
        raise PermanentError(
            f"{place.path} has {standing.st_size} bytes, too many to keep for the day ours goes (limit {MAX_BEFORE})",
            reason="TooLargeToKeep",
            hint="move it away",
        )
    fd = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:
        content = file.read(MAX_BEFORE + 1)
    return Before(mode=stat.S_IMODE(standing.st_mode), uid=standing.st_uid, gid=standing.st_gid), content


@contextmanager
def _typed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failures.provider_error(error, path) from error
