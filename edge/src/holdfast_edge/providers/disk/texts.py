"""Files of settings at fixed places, written whole for one resource each: the form the machine reads at its next boot.

Blocking unless it says otherwise: call from a thread.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.looks import Looks
from holdfast_edge.providers.disk.owned import Owned
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_MODE: Final = 0o644


class OwnedTexts:
    """`anchor`: a folder above all of them, always there; `state`: where the ledger lives."""

    def __init__(self, anchor: Path, state: Path) -> None:
        self._roots = Roots([anchor], [state])
        self._owned = Owned(Ledger(state), self._roots)
        self._looks = Looks()
        self._known: dict[str, tuple[str, int, str]] = {}  # by path: the text last asked for, its bytes and digest
        self._watch = PathWatch(lambda path: self._roots.folders(self._roots.place(path)))

    def difference(self, path: str, text: str) -> str:
        """Return what is wrong with the file, "" when it is as wanted. Raises PermanentError when it cannot be read."""
        known = self._known.get(path)
        if known is None or known[0] != text:
            content = text.encode()
            known = self._known[path] = (text, len(content), digest_bytes(content))
        try:
            look = self._looks.look(path, known[1])
        except OSError as error:
            raise failures.provider_error(error, path) from error
        if look is None:
            return "file: nothing is there"
        if look.kind != "file":
            return "file: no plain file stands there"
        return "" if look.digest == known[2] else "file: differs"

    def claim(self, resource: Resource, path: str, others: Mapping[ResourceKey, Resource]) -> None:
        """Raise PermanentError when another resource of the target owns the file: two would overwrite each other."""
        entry = self._owned.entry(path)
        if entry is not None and entry.key != resource.key and entry.key in others:
            raise PermanentError(f"{path} is already written by {entry.key}", reason="PathTaken")

    def put(self, key: ResourceKey, path: str, text: str, *, note: str = "") -> None:
        """Write the file; its note is in the ledger before."""
        self._owned.put(key, path, text.encode(), mode=_MODE, note=note)

    def note(self, path: str) -> str | None:
        """Return the note of a file of ours, None when it is not ours."""
        entry = self._owned.entry(path)
        return None if entry is None else entry.note

    def annotate(self, path: str, note: str) -> None:
        self._owned.annotate(path, note)

    def key(self, path: str) -> ResourceKey | None:
        """Return whose the file is, None when it is not ours."""
        entry = self._owned.entry(path)
        return None if entry is None else entry.key

    def paths(self, key: ResourceKey | None = None) -> list[str]:
        """Return the files that are ours, of one resource or of all."""
        return self._owned.paths(key)

    def take_away(self, path: str) -> None:
        self._owned.take_away(path)

    def follow(self, paths: Iterable[str]) -> None:
        """Watch these and all of ours from now on. For the event loop."""
        wanted = {*paths, *self._owned.paths()}
        self._looks.keep_only(wanted)
        if len(self._known) > len(wanted):
            self._known = {path: known for path, known in list(self._known.items()) if path in wanted}
        self._watch.follow(wanted)

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)
