"""Drop-ins: settings of ours for units that are not, in effect, and without a trace when they go."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Readiness, Scope, Wake
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.standing import failed
from holdfast_edge.providers.systemd.status import unit_status
from holdfast_edge.providers.systemd.unit_files import OnDisk, UnitFiles
from holdfast_edge.providers.systemd.verify import Verifier
from holdfast_edge.providers.systemd.written import written_by
from holdfast_protocol.errors import HoldfastError, PermanentError, WireError
from holdfast_protocol.kinds import systemd_drop_in, units
from holdfast_protocol.kinds.systemd_drop_in import Wanted
from holdfast_protocol.kinds.unit_text import UnitText
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_UP: Final = "up"  # how a unit stood before its settings were changed
_BROKEN: Final = "failed"
_AS_WANTED: Final[tuple[Readiness, str, str]] = ("ready", "", "")


class DropInProvider:
    """`home`: which systemd; `backend`: the way to it; `state`: where the ledger lives; `denied`: the agent's own units."""

    kinds: tuple[str, ...] = ("SystemdDropIn",)

    def __init__(self, backend: SystemdBackend, home: Home, *, state: Path, denied: Collection[str] = ()) -> None:
        self._backend = backend
        self._denied = frozenset(denied)
        self._files = UnitFiles(home, state)
        self._verifier = Verifier(home, state)

    def check(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource)
        owner = written_by(want.unit, scope)
        if owner is not None:
            raise PermanentError(f"{want.unit} is written by {owner}: say it in its dropIns", reason="NameTaken")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Have systemd itself read the unit with them, as copies."""
        want = self._want(resource)
        await anyio.to_thread.run_sync(self._verifier.verify, want.unit, want.files, f"{want.unit} {want.digest}")

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found: dict[ResourceKey, Observed] = {}
        wants: dict[ResourceKey, Wanted] = {}
        for resource in resources:
            try:
                wants[resource.key] = self._want(resource)
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
        shapes = {key: _shape(want) for key, want in wants.items()}
        disks, fresh = await anyio.to_thread.run_sync(self._files.look, shapes)
        names = [want.unit for want in wants.values() if "@." not in want.unit]
        self._files.follow(shapes.values())
        self._backend.follow(names)
        states = await self._backend.states(names, fresh=fresh)
        for key, want in wants.items():
            found[key] = _observed(key, want, disks[key], states.get(want.unit))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        want, key = self._want(resource), resource.key
        shape = _shape(want)
        if await anyio.to_thread.run_sync(self._files.is_stale, key, shape):
            await self._refuse_foreign(resource, shape, scope)
            ours = await anyio.to_thread.run_sync(self._files.paths, key)
            left_over = await anyio.to_thread.run_sync(self._files.left_over, key, shape)
            await self._take_away([path for path in left_over if _unit_of(path) != want.unit], want.restart)
            stood = await self._stands(want.unit, [path for path in ours if _unit_of(path) == want.unit])
            await anyio.to_thread.run_sync(self._files.write, key, shape, stood)
            await anyio.to_thread.run_sync(
                self._files.take_away, [path for path in left_over if _unit_of(path) == want.unit]
            )
            await self._take_effect(want.unit, want.restart, stood)
        await anyio.to_thread.run_sync(self._files.mark_in_effect, shape)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger; `body` says only whether the unit is restarted. Emptied first, so that a kill at any point leaves
        a file to be found until nothing of ours is in effect."""
        restart = (body.get("spec") or {}).get("restart") is not False
        await self._take_away(await anyio.to_thread.run_sync(self._files.paths, key), restart)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._files.run_watch, wake)
            group.start_soon(self._backend.run_signals, wake)

    async def close(self) -> None:
        await self._backend.close()

    def _want(self, resource: Resource) -> Wanted:
        try:
            return systemd_drop_in.wanted(resource.spec, resource.name, self._denied)
        except WireError as error:
            raise failures.refusal(error) from None

    async def _refuse_foreign(self, resource: Resource, shape: units.Wanted, scope: Scope) -> None:
        path, owner = await anyio.to_thread.run_sync(self._files.foreign, resource.key, shape)
        if not path or (owner is not None and owner not in scope.resources):
            return
        whose = f"written by {owner}" if owner is not None else "there and not ours"
        raise PermanentError(
            f"{path} is already {whose}",
            reason="PathTaken" if owner is not None else "Foreign",
            hint="give the drop-in another name",
        )

    async def _take_away(self, paths: Sequence[str], restart: bool) -> None:  # [inv: only-owned-things-are-removed]
        for unit in dict.fromkeys(map(_unit_of, paths)):
            theirs = [path for path in paths if _unit_of(path) == unit]
            stood = await self._stands(unit, theirs)
            await anyio.to_thread.run_sync(self._files.empty, theirs)
            await self._take_effect(unit, restart, stood)
            await anyio.to_thread.run_sync(self._files.take_away, theirs)
        if paths:
            await self._backend.reload()

    async def _stands(self, unit: str, ours: Sequence[str]) -> str:
        """Return how a unit stands before it is changed; of one that a change of ours has ended, how it stood before that."""
        if "@." in unit:
            return ""
        state = (await self._backend.states([unit], fresh=True))[unit]
        before = await anyio.to_thread.run_sync(self._files.stood, ours)
        return _standing(state, before)

    async def _take_effect(self, unit: str, restart: bool, stood: str) -> None:
        """Have what runs read its files. A unit that ran until a change of ours, and has failed by it, is started again."""
        await self._backend.reload()
        if not restart or "@." in unit:
            return
        state = (await self._backend.states([unit], fresh=True))[unit]
        if state.load == "loaded":  # nothing runs of a unit nobody knows
            again = stood == _UP and state.active == "failed"
            if again:
                await self._backend.reset_failed(unit)
            await self._backend.restart(unit, only_if_up=not again)


def _unit_of(path: str) -> str:
    return os.path.basename(os.path.dirname(path)).removesuffix(".d")


def _standing(state: UnitState, before: str) -> str:
    if before == _UP and (state.active != "inactive" or state.job):  # failed, or on its way, by a change cut off
        return _UP
    if _is_broken(state):
        return _BROKEN
    return _UP if state.active in {"active", "reloading", "activating"} else ""


def _is_broken(state: UnitState) -> bool:
    return state.active == "failed" or state.sub.startswith("auto-restart")


def _shape(want: Wanted) -> units.Wanted:
    """Return them as the files of a unit of which nothing else is ours."""
    return units.Wanted(want.unit, want.files, want.digest, UnitText(()), False, "onDemand", False)


def _observed(key: ResourceKey, want: Wanted, disk: OnDisk, state: UnitState | None) -> Observed:
    if disk.problem is not None:
        return failures.unseen(key, disk.problem)
    readiness, reason, message = _readiness(want, state, disk.stood) if state is not None else _AS_WANTED
    return Observed(
        key=key,
        exists=disk.unit_there,
        differences=disk.differences,
        readiness=readiness,
        reason=reason,
        message=message,
        detail={"unit": want.unit, "files": len(want.files)},
        status=unit_status(state, readiness, reason, message) if state is not None else {},
    )


def _readiness(want: Wanted, state: UnitState, stood: str) -> tuple[Readiness, str, str]:
    """Judge the unit by what the settings may have done to it: what was broken before them says nothing of them."""
    if state.load in {"not-found", "masked"}:
        return "ready", "NoUnit", f"{want.unit} is {state.load}: nothing reads them yet"
    if _is_broken(state):
        return failed(state) if stood != _BROKEN else _AS_WANTED
    if stood == _UP and (state.job or state.active in {"activating", "deactivating"}):
        word = "Stopping" if state.active == "deactivating" else "Starting"
        return "progressing", word, f"{want.unit} is {state.active} ({state.sub})"
    return _AS_WANTED
