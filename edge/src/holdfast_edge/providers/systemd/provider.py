"""Services: unit files of ours, in effect, enabled and running as wanted.

Restarting what ends is systemd's work (Restart=); ours is what systemd does not do: that the unit is there and unchanged,
enabled, and started again when it was stopped or gave up.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.standing import standing
from holdfast_edge.providers.systemd.unit_files import OnDisk, UnitFiles
from holdfast_edge.providers.systemd.wanted import Wanted, wanted
from holdfast_protocol.errors import HoldfastError, PermanentError, TransientError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

STOP_S: Final = 10.0  # a removal waits so long for its service, then comes back later


class SystemdServiceProvider:
    """`home`: which systemd; `backend`: the way to it; `state`: where the ledger lives; `denied`: the agent's own units."""

    kinds: tuple[str, ...] = ("SystemdService",)

    def __init__(self, backend: SystemdBackend, home: Home, *, state: Path, denied: Collection[str] = ()) -> None:
        self._backend = backend
        self._denied = frozenset(denied)
        self._files = UnitFiles(home, state)
        self._wanted: dict[ResourceKey, tuple[str, Wanted]] = {}

    def check(self, resource: Resource, scope: Scope) -> None:
        self._want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found: dict[ResourceKey, Observed] = {}
        wants: dict[ResourceKey, Wanted] = {}
        for resource in resources:
            try:
                wants[resource.key] = self._want(resource)
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
        disks, fresh = await anyio.to_thread.run_sync(self._files.look, wants)
        names = [want.name for want in wants.values()]
        self._files.follow(wants.values())
        self._backend.follow(names)
        states = await self._backend.states(names, fresh=fresh)
        for key, want in wants.items():
            found[key] = _observed(key, want, disks[key], states[want.name])
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource)
        self._refuse_shared(resource, want, scope)
        key = resource.key
        stale = await anyio.to_thread.run_sync(self._files.is_stale, key, want)
        state = (await self._backend.states([want.name], fresh=True))[want.name]
        if stale:
            await self._refuse_foreign(want, state)
            await self._take_away(await anyio.to_thread.run_sync(self._files.left_over, key, want))
            await anyio.to_thread.run_sync(self._files.write, key, want)
        linked = await self._enable(want, state, again=stale)
        if stale or linked or state.load != "loaded":
            await self._backend.reload()
        await self._run(want, state, again=stale)
        await anyio.to_thread.run_sync(self._files.mark_in_effect, want)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger, not by `body`: a unit that another resource has taken over stays."""
        self._wanted.pop(key, None)
        await self._take_away(await anyio.to_thread.run_sync(self._files.paths, key))

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._files.run_watch, wake)  # systemd does not tell of edited files
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

    def _refuse_shared(self, resource: Resource, want: Wanted, scope: Scope) -> None:
        """Two resources of one unit would overwrite each other for ever."""
        owner = self._files.owner(want)
        other = scope.resources.get(owner) if owner is not None and owner != resource.key else None
        if other is not None and other.kind == "SystemdService" and self._want(other).name == want.name:
            raise PermanentError(f"{want.name} is already written by {other.key}", reason="NameTaken")

    async def _refuse_foreign(self, want: Wanted, state: UnitState) -> None:
        """A unit that was there before us is somebody's, unless it says exactly what ours says."""
        if want.take_over or self._files.owner(want) is not None:
            return
        stands = await anyio.to_thread.run_sync(self._files.unit_stands, want)
        if stands == "same":
            return
        if stands == "other" or state.load != "not-found" or state.file_state:
            raise PermanentError(
                f"{want.name} is there already and not ours",
                reason="Foreign",
                hint="choose another name, or say takeOver: true (its file comes back when ours is removed)",
            )

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

    async def _take_away(self, paths: Sequence[str]) -> None:  # [inv: only-owned-things-are-removed]
        """Stop and disable the units among `paths` of ours, then remove the files. Repeatable at any point."""
        units = [os.path.basename(path) for path in paths if self._files.is_unit(path)]
        for unit in units:
            if not await self._backend.stop(unit, within=STOP_S):
                raise TransientError(f"{unit} is still stopping", after=5.0, reason="StillStopping")
            await self._backend.disable(unit)
        if paths:
            await anyio.to_thread.run_sync(self._files.take_away, paths)
            await self._backend.reload()
        for unit in units:
            await self._backend.reset_failed(unit)


def _observed(key: ResourceKey, want: Wanted, disk: OnDisk, state: UnitState) -> Observed:
    if disk.problem is not None:
        return failures.unseen(key, disk.problem)
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
