"""Services: unit files of ours, in effect, enabled and running as wanted.

Restarting what ends is systemd's work (Restart=); ours is what systemd does not do: that the unit is there and unchanged,
enabled, and started again when it was stopped or gave up.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.looks import Looks
from holdfast_edge.providers.disk.owned import Owned
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.systemd.home import Home, is_settled
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.standing import standing
from holdfast_edge.providers.systemd.wanted import Wanted, wanted
from holdfast_protocol.errors import HoldfastError, PermanentError, TransientError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

STOP_S: Final = 10.0  # a removal waits so long for its service, then comes back later
_MODE: Final = 0o644


class _Disk(msgspec.Struct, frozen=True):
    """What the files of one service say."""

    unit_there: bool
    differences: tuple[str, ...]
    problem: HoldfastError | None = None


class SystemdServiceProvider:
    """`home`: which systemd; `backend`: the way to it; `state`: where the ledger lives; `denied`: the agent's own units."""

    kinds: tuple[str, ...] = ("SystemdService",)

    def __init__(self, backend: SystemdBackend, home: Home, *, state: Path, denied: Collection[str] = ()) -> None:
        self._backend = backend
        self._home = home
        self._denied = frozenset(denied)
        self._base = self._home.units
        self._roots = Roots([_first_folder(self._base)])
        self._owned = Owned(Ledger(state), self._roots)
        self._looks = Looks()
        self._watch = PathWatch(lambda path: self._roots.folders(self._roots.place(path)))
        self._wanted: dict[ResourceKey, tuple[str, Wanted]] = {}
        self._signature: tuple[tuple[str, int, int], ...] = ()

    def check(self, resource: Resource, scope: Scope) -> None:
        self._want(resource)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found: dict[ResourceKey, Observed] = {}
        wants: dict[ResourceKey, Wanted] = {}
        for resource in resources:
            try:
                wants[resource.key] = self._want(resource)
            except HoldfastError as error:
                found[resource.key] = _unseen(resource.key, error)
        disks, fresh, owned = await anyio.to_thread.run_sync(self._look, wants)
        names = [want.name for want in wants.values()]
        self._follow(wants.values(), owned)
        states = await self._backend.states(names, fresh=fresh)
        for key, want in wants.items():
            found[key] = _observed(key, want, disks[key], states[want.name])
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource)
        self._refuse_shared(resource, want, scope)
        key = resource.key
        stale = await anyio.to_thread.run_sync(self._stale, key, want)
        if self._others(key, want):
            await self._take_away(key, self._others(key, want))
        state = await self._state(want.name)
        if stale:
            await self._refuse_foreign(want, state)
            await anyio.to_thread.run_sync(self._write, key, want)
        linked = await self._enable(want, state, again=stale)
        if stale or linked or state.load != "loaded":
            await self._backend.reload()
        await self._run(want, state, again=stale)
        await anyio.to_thread.run_sync(self._owned.annotate, self._path(want.name), want.digest)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger, not by `body`: a unit that another resource has taken over stays."""
        self._wanted.pop(key, None)
        paths = await anyio.to_thread.run_sync(self._owned.paths, key)
        if paths:
            await self._take_away(key, paths)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch.run, wake)  # systemd does not tell of edited files
            group.start_soon(self._backend.run_signals, wake)

    async def close(self) -> None:
        await self._backend.close()

    def _want(self, resource: Resource) -> Wanted:
        known = self._wanted.get(resource.key)
        if known is not None and known[0] == resource.digest:
            return known[1]
        want = wanted(resource, self._denied)
        self._wanted[resource.key] = (resource.digest, want)
        return want

    def _path(self, file: str) -> str:
        return str(self._base / file)

    def _follow(self, wants: Collection[Wanted], owned: Collection[str]) -> None:
        paths = set(owned)
        for want in wants:
            paths.update(self._path(file.path) for file in want.files)
            if want.enabled:
                paths.update(self._home.links(want.name, want.text.words("Install", "WantedBy")))
        self._watch.follow(path for path in paths if self._is_plain(path))
        self._backend.follow({want.name for want in wants})

    def _is_plain(self, path: str) -> bool:
        try:
            self._roots.place(path)
        except PermanentError:  # WantedBy= may hold anything
            return False
        return True

    def _look(self, wants: Mapping[ResourceKey, Wanted]) -> tuple[dict[ResourceKey, _Disk], bool, list[str]]:
        signature = self._home.signature()
        fresh = signature != self._signature or not is_settled(signature, time.time_ns())
        self._signature = signature
        owned = self._owned.paths()
        found = {key: self._disk(key, want) for key, want in wants.items()}
        self._looks.keep_only({self._path(file.path) for want in wants.values() for file in want.files} | set(owned))
        return found, fresh, owned

    def _disk(self, key: ResourceKey, want: Wanted) -> _Disk:
        found = []
        there = False
        wanted_paths = set()
        for index, file in enumerate(want.files):
            path = self._path(file.path)
            wanted_paths.add(path)
            field = "unit" if index == 0 else f"dropIns: {os.path.basename(path)}"
            try:
                look = self._looks.look(path, len(file.content))
            except OSError as error:
                return _Disk(False, (), failures.provider_error(error, path))
            there = there or (index == 0 and look is not None)
            if look is None:
                found.append(f"{field}: no file")
            elif look.kind != "file":
                found.append(f"{field}: a link stands there" if look.kind == "link" else f"{field}: no plain file")
            elif look.digest != file.digest:
                found.append(f"{field}: differs")
        entry = self._owned.entry(self._path(want.name))
        if not found and (entry is None or entry.key != key or entry.note != want.digest):
            found.append("unit: not in effect yet")
        found += [f"files: {path} is left over" for path in self._owned.paths(key) if path not in wanted_paths]
        return _Disk(there, tuple(found))

    def _stale(self, key: ResourceKey, want: Wanted) -> bool:
        """Return whether what runs may not be what is wanted: files differ, or were not taken into effect."""
        return bool(self._disk(key, want).differences)

    def _others(self, key: ResourceKey, want: Wanted) -> list[str]:
        wanted_paths = {self._path(file.path) for file in want.files}
        return [path for path in self._owned.paths(key) if path not in wanted_paths]

    def _refuse_shared(self, resource: Resource, want: Wanted, scope: Scope) -> None:
        """Two resources of one unit would overwrite each other for ever."""
        entry = self._owned.entry(self._path(want.name))
        other = scope.resources.get(entry.key) if entry is not None and entry.key != resource.key else None
        if other is not None and other.kind == "SystemdService" and self._want(other).name == want.name:
            raise PermanentError(f"{want.name} is already written by {other.key}", reason="NameTaken")

    async def _refuse_foreign(self, want: Wanted, state: UnitState) -> None:
        """A unit that was there before us is somebody's, unless it says exactly what ours says."""
        path = self._path(want.name)
        if want.take_over or self._owned.entry(path) is not None:
            return
        look = await anyio.to_thread.run_sync(self._looks.look, path, len(want.files[0].content))
        if look is not None and look.digest == want.files[0].digest:
            return
        if look is not None or state.load not in {"not-found", ""} or state.file_state:
            raise PermanentError(
                f"{want.name} is there already and not ours",
                reason="Foreign",
                hint="choose another name, or say takeOver: true (its file comes back when ours is removed)",
            )

    def _write(self, key: ResourceKey, want: Wanted) -> None:
        """Write all files. The entry's note goes first: until it is back, nothing is taken to be in effect."""
        for file in want.files:
            path = self._path(file.path)
            look = self._looks.look(path, len(file.content))
            same = look is not None and look.digest == file.digest
            self._owned.put(key, path, file.content, mode=_MODE, new_mode=_MODE, keep_before=not same)

    async def _enable(self, want: Wanted, state: UnitState, *, again: bool) -> bool:
        """Bring the links on the disk in line; return whether systemd must read them."""
        name = want.name
        masked = state.file_state == "masked-runtime"
        if masked:
            await self._backend.unmask(name, runtime=True)
        if want.enabled and want.text.can_be_enabled:
            if again or state.file_state != "enabled":
                await self._backend.enable(name, again=again)
                return True
        elif again or state.file_state in {"enabled", "enabled-runtime"}:
            await self._backend.disable(name, runtime=state.file_state == "enabled-runtime")
            return True
        return masked

    async def _run(self, want: Wanted, state: UnitState, *, again: bool) -> None:
        up = state.active in {"active", "reloading", "activating"}
        if not want.running:
            if up:
                await self._backend.stop(want.name, within=0.0)
        elif again:
            await self._backend.reset_failed(want.name)
            await self._backend.restart(want.name)
        elif not up and not (want.text.runs_to_completion and state.active == "inactive"):
            await self._backend.reset_failed(want.name)  # else the start limit it ran into would hold for us too
            await self._backend.start(want.name)

    async def _take_away(self, key: ResourceKey, paths: Sequence[str]) -> None:  # [inv: only-owned-things-are-removed]
        """Stop and disable the units among `paths` of ours, then remove the files. Repeatable at any point."""
        units = [os.path.basename(path) for path in paths if os.path.dirname(path) == str(self._base)]
        for unit in units:
            if not await self._backend.stop(unit, within=STOP_S):
                raise TransientError(f"{unit} is still stopping", after=5.0, reason="StillStopping")
            await self._backend.disable(unit)
            await anyio.to_thread.run_sync(self._home.drop_links, unit)
        for path in sorted(paths, key=len, reverse=True):  # the unit itself last: a kill before leaves it to be found
            await anyio.to_thread.run_sync(self._owned.take_away, path)
        await self._backend.reload()
        for unit in units:
            await self._backend.reset_failed(unit)

    async def _state(self, name: str) -> UnitState:
        return (await self._backend.states([name], fresh=True))[name]


def _first_folder(units: Path) -> Path:
    """Return the nearest folder above `units` that is there: what is missing below is made with the first unit."""
    while not units.is_dir() and units != units.parent:
        units = units.parent
    return units


def _observed(key: ResourceKey, want: Wanted, disk: _Disk, state: UnitState) -> Observed:
    if disk.problem is not None:
        return _unseen(key, disk.problem)
    stands = standing(want, state)
    detail = {
        "unit": want.name,
        "active": state.active,
        "sub": state.sub,
        "enabled": state.file_state,
        "restarts": state.restarts,
    }
    return Observed(
        key=key,
        exists=disk.unit_there or state.load == "loaded",
        differences=disk.differences + stands.differences,
        readiness=stands.readiness,
        reason=stands.reason,
        message=stands.message,
        detail=detail,
    )


def _unseen(key: ResourceKey, error: HoldfastError) -> Observed:
    return Observed(
        key=key,
        exists=False,
        differences=(error.message,),
        readiness="degraded",
        reason=error.reason,
        message=error.message,
    )
