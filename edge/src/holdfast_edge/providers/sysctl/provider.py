"""Sysctls: settings of the kernel, now and at the next boot, and the values from before us back when ours go.

The kernel tells of no change in /proc/sys: drift there is seen by the periodic look, of the file at once.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.disk.turns import in_turn
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.sysctl.live import Live
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import sysctl
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_HEAD: Final = "# By Holdfast: changes made here are undone.\n"
_Values = dict[str, str]  # by path below /proc/sys


class SysctlProvider:
    """`state`: where the ledger lives. The ledger's note of a file holds the values that stood before us."""

    kinds: tuple[str, ...] = ("Sysctl",)

    def __init__(self, *, state: Path, etc: Path = Path("/etc"), live: Live | None = None) -> None:
        self._folder = str(etc / "sysctl.d")
        self._texts = OwnedTexts(etc, state)
        self._live = live or Live()
        self._wanted: dict[ResourceKey, tuple[str, _Values]] = {}

    def check(self, resource: Resource, scope: Scope) -> None:
        self._want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await in_turn(failures.each_seen, resources, self._one)
        self._texts.follow(self._path(each) for each in resources if is_name(each.name))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger. A value the kernel does not take back is a PermanentError, and is tried again after a boot."""
        await anyio.to_thread.run_sync(self._remove, key, frozenset[str]())
        self._wanted.pop(key, None)

    async def run_watch(self, wake: Wake) -> None:
        await self._texts.run_watch(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want, path = self._want(resource), self._path(resource)
        file = self._texts.difference(path, _HEAD + sysctl.render(want))
        if not file and self._texts.key(path) != resource.key:
            file = "file: not ours yet"
        values = {each: self._live.read(each) for each in want}
        live = [
            f"{sysctl.key_of(each)}: is {values[each][:80]!r}, wanted {value[:80]!r}"
            for each, value in want.items()
            if values[each] != value
        ]
        there = self._texts.key(path) == resource.key
        kept = [f"{sysctl.key_of(each)}: is not given back" for each in self._before(path) if each not in want]
        return Observed(
            key=resource.key,
            exists=there,
            differences=(*([file] if file else []), *live, *kept),
            detail={"file": path, "keys": len(want)},
            status={"settings": {sysctl.key_of(each): value for each, value in values.items()}},
        )

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want, path = self._want(resource), self._path(resource)
        self._texts.claim(resource, path, scope.resources)
        self._refuse_shared(resource, want, scope)
        before = self._before(path)
        changed = {each: value for each, value in want.items() if self._live.read(each) != value}
        for each in changed:
            self._live.check_writable(each)
        for each in want:
            if each not in before:
                held = self._held_elsewhere(each, path)
                before[each] = self._live.read(each) if held is None else held
        self._texts.put(resource.key, path, _HEAD + sysctl.render(want), note=_note(before))
        for each, value in changed.items():
            self._live.write(each, value)
        self._give_back(path, {each: value for each, value in before.items() if each not in want})
        self._texts.annotate(path, _note({each: before[each] for each in want}))
        self._remove(resource.key, frozenset({path}))

    def _remove(self, key: ResourceKey, keep: Collection[str]) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._texts.paths(key):
            if path not in keep:
                self._give_back(path, self._before(path))
                self._texts.take_away(path)

    def _give_back(self, path: str, values: _Values) -> None:
        """Set the values from before us, but for keys that another of ours holds by now or that are gone."""
        for each, value in values.items():
            if self._held_elsewhere(each, path) is not None:
                continue
            try:
                if self._live.read(each) != value:
                    self._live.write(each, value)
            except PermanentError as error:
                if error.reason != "UnknownKey":
                    raise

    def _refuse_shared(self, resource: Resource, want: _Values, scope: Scope) -> None:
        """Two resources of one key would overwrite each other for ever, or restore what the other still wants."""
        for path in self._texts.paths():
            owner = self._texts.key(path)
            other = scope.resources.get(owner) if owner is not None and owner != resource.key else None
            if other is None:
                continue
            try:
                theirs = self._want(other).keys()
            except PermanentError:
                theirs = self._before(path).keys()  # what it holds while nothing better is said
            if shared := sorted(want.keys() & theirs):
                raise PermanentError(f"{sysctl.key_of(shared[0])} is already set by {other.key}", reason="KeyTaken")

    def _held_elsewhere(self, key: str, path: str) -> str | None:
        """Return what stood before us by the note of another file of ours that has this key, None without one."""
        for other in self._texts.paths():
            if other != path and key in (before := self._before(other)):
                return before[key]
        return None

    def _before(self, path: str) -> _Values:
        try:
            return msgspec.json.decode(self._texts.note(path) or "{}", type=_Values)
        except msgspec.DecodeError:
            return {}  # of another version: what it told of is no longer known

    def _path(self, resource: Resource) -> str:
        return f"{self._folder}/90-holdfast-{resource.name}.conf"

    def _want(self, resource: Resource) -> _Values:
        known = self._wanted.get(resource.key)
        if known is not None and known[0] == resource.digest:
            return known[1]
        if not is_name(resource.name):
            raise PermanentError(f"{resource.name[:100]!r} cannot name a file of settings", reason="BadName")
        try:
            want = sysctl.settings(resource.spec)
        except WireError as error:
            raise failures.refusal(error) from None
        self._wanted[resource.key] = (resource.digest, want)
        return want


def _note(values: _Values) -> str:
    return msgspec.json.encode(values).decode()
