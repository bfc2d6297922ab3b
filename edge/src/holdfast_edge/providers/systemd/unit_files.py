"""The files of our units on the disk: compared, written, watched, taken away. Blocking unless it says otherwise."""

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_edge.providers.disk.looks import Look, Looks
from holdfast_edge.providers.disk.owned import Owned
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.port import Wake
from holdfast_edge.providers.systemd.home import Home, is_settled
from holdfast_protocol.errors import PermanentError, ProviderError
from holdfast_protocol.kinds.units import Wanted
from holdfast_protocol.wire.names import ResourceKey

_MODE: Final = 0o644


class OnDisk(msgspec.Struct, frozen=True):
    """What the files of one unit say; `unit_there`: the first stands. `problem`: they could not be looked at."""

    unit_there: bool
    differences: tuple[str, ...]
    problem: ProviderError | None = None
    stood: str = ""  # how the unit was when they were last written, as the writer said


class UnitFiles:
    """The ledger's note of a unit is the digest of what was last put into effect, reloaded and (re)started, and behind a
    space how the unit stood before that."""

    def __init__(self, home: Home, state: Path) -> None:
        self._home = home
        self._roots = Roots([home.anchor])
        self._owned = Owned(Ledger(state), self._roots)
        self._looks = Looks()
        self._watch = PathWatch(lambda path: self._roots.folders(self._roots.place(path)))
        self._signature: tuple[tuple[str, int, int], ...] = ()
        self._followed: tuple[list[str], list[tuple[str, bool]]] | None = None

    def look(self, wants: Mapping[ResourceKey, Wanted]) -> tuple[dict[ResourceKey, OnDisk], bool]:
        """Return what stands for each, and whether any link or file of units may have changed since the last look."""
        signature = self._home.signature()
        changed = signature != self._signature or not is_settled(signature, time.time_ns())
        self._signature = signature
        found = {key: self._one(key, want) for key, want in wants.items()}
        self._looks.keep_only({self._path(file.path) for want in wants.values() for file in want.files})
        return found, changed

    def is_stale(self, key: ResourceKey, want: Wanted) -> bool:
        """Return whether what runs may not be what is wanted: files differ, or were not put into effect."""
        stands = self._one(key, want)
        if stands.problem is not None:
            raise stands.problem
        return bool(stands.differences)

    def owner(self, want: Wanted) -> ResourceKey | None:
        """Return whose the unit is, None when it is not ours."""
        entry = self._owned.entry(self._path(want.files[0].path))
        return entry.key if entry is not None else None

    def foreign(self, key: ResourceKey, want: Wanted) -> tuple[str, ResourceKey | None]:
        """Return the first file that stands there, says something else and is not of `key`, with whose it is; ("", None)."""
        for file in want.files:
            path = self._path(file.path)
            entry, look = self._owned.entry(path), self._looks.look(path, len(file.content))
            if entry is not None and entry.key != key:
                return path, entry.key
            if entry is None and look is not None and look.digest != file.digest:
                return path, None
        return "", None

    def unit_stands(self, want: Wanted) -> Literal["same", "other", "nothing"]:
        """Return what stands where the unit belongs."""
        look = self._looks.look(self._path(want.files[0].path), len(want.files[0].content))
        if look is None:
            return "nothing"
        return "same" if look.digest == want.files[0].digest else "other"

    def paths(self, key: ResourceKey) -> list[str]:
        return self._owned.paths(key)

    def left_over(self, key: ResourceKey, want: Wanted) -> list[str]:
        """Return our files of an older form of the resource."""
        wanted_paths = {self._path(file.path) for file in want.files}
        return [path for path in self._owned.paths(key) if path not in wanted_paths]

    def is_unit(self, path: str) -> bool:
        """Return whether a path of ours is a unit, not a drop-in."""
        return os.path.dirname(path) == str(self._home.units)

    def stood(self, paths: Iterable[str]) -> str:
        """Return how the unit stood when these files of ours were last written; "" where nothing was said."""
        entries = [entry for entry in map(self._owned.entry, paths) if entry is not None]
        return next((said for entry in entries if (said := _note(entry)[1])), "")

    def write(self, key: ResourceKey, want: Wanted, stood: str = "") -> None:
        """Write all files, the unit first. Their note says how the unit stood and no digest: nothing counts as in effect
        until marked again."""
        for file in want.files:
            path = self._path(file.path)
            look = self._looks.look(path, len(file.content))
            same = look is not None and look.digest == file.digest
            note = f" {stood}" if stood else ""
            self._owned.put(key, path, file.content, mode=_MODE, keep_before=not same, note=note)

    def mark_in_effect(self, want: Wanted) -> None:
        path = self._path(want.files[0].path)
        stood = self.stood([path])
        self._owned.annotate(path, f"{want.digest} {stood}" if stood else want.digest)

    def empty(self, paths: Sequence[str]) -> None:
        """Take what files of ours say, and leave the files: until what read them has read nothing, they are still to do."""
        for path in paths:
            entry = self._owned.entry(path)
            if entry is not None:
                stood = _note(entry)[1]
                self._owned.put(entry.key, path, b"", mode=_MODE, note=f" {stood}" if stood else "")

    def take_away(self, paths: Sequence[str]) -> None:
        """Remove files of ours, each unit after its drop-ins: a kill in between leaves the unit to be found."""
        for path in sorted(paths, key=len, reverse=True):
            self._owned.take_away(path)

    def follow(self, wants: Collection[Wanted]) -> None:
        """Watch the files of these units and the links that enable them. Blocks for nothing: for the event loop."""
        owned = self._owned.paths()
        followed = owned, [(want.digest, want.enabled) for want in wants]
        if followed == self._followed:
            return
        self._followed = followed
        paths = set(owned)
        for want in wants:
            paths.update(self._path(file.path) for file in want.files)
            if want.enabled:
                paths.update(self._home.links(want.name, want.text.words("Install", "WantedBy")))
        self._watch.follow(path for path in paths if self._is_plain(path))

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    def _one(self, key: ResourceKey, want: Wanted) -> OnDisk:
        found = []
        unit_there = False
        for index, file in enumerate(want.files):
            path = self._path(file.path)
            try:
                look = self._looks.look(path, len(file.content))
            except OSError as error:
                return OnDisk(False, (), failures.provider_error(error, path))
            unit_there = unit_there or (index == 0 and look is not None)
            said = _difference(look, file.digest)
            if said:
                found.append(f"unit: {said}" if file.path == want.name else f"dropIns: {os.path.basename(path)} {said}")
        entry = self._owned.entry(self._path(want.files[0].path))
        in_effect, stood = _note(entry) if entry is not None and entry.key == key else ("", "")
        if not found and in_effect != want.digest:
            found.append(f"{'unit' if want.files[0].path == want.name else 'dropIns'}: not in effect yet")
        found += [f"files: {path} is left over" for path in self.left_over(key, want)]
        return OnDisk(unit_there, tuple(found), stood=stood)

    def _path(self, file: str) -> str:
        return f"{self._home.units}/{file}"

    def _is_plain(self, path: str) -> bool:
        try:
            self._roots.place(path)
        except PermanentError:  # WantedBy= may hold anything
            return False
        return True


def _note(entry: Entry) -> tuple[str, str]:
    """Return the digest in effect, "" for none, and how the unit stood before."""
    digest, _, stood = entry.note.partition(" ")
    return digest, stood


def _difference(look: Look | None, digest: str) -> str:
    if look is None:
        return "no file"
    if look.kind != "file":
        return "a link stands there" if look.kind == "link" else "no plain file"
    return "" if look.digest == digest else "differs"
