"""Services, timers, sockets, mounts: unit files of ours, in effect, enabled and running as wanted.

Restarting what ends is systemd's work (Restart=); ours is what systemd does not do: that the unit is there and unchanged,
enabled, and started again when it was stopped or gave up.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.turns import in_turn
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.systemd import journal, transition
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.kept import Kept
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.standing import standing
from holdfast_edge.providers.systemd.status import ASKED, kind_status, unit_status
from holdfast_edge.providers.systemd.unit_files import OnDisk, UnitFiles
from holdfast_edge.providers.systemd.verify import Verifier
from holdfast_protocol.errors import HoldfastError, PermanentError, UnsupportedError, WireError
from holdfast_protocol.kinds import systemd_mount, systemd_service, systemd_socket, systemd_timer
from holdfast_protocol.kinds.units import Wanted
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_KINDS: Final[Mapping[str, Callable[[dict[str, Any], str, Collection[str]], Wanted]]] = {
    "SystemdService": systemd_service.wanted,
    "SystemdTimer": systemd_timer.wanted,
    "SystemdSocket": systemd_socket.wanted,
    "SystemdMount": systemd_mount.wanted,
}


class UnitProvider:
    """`home`: which systemd; `backend`: the way to it; `state`: where the ledger lives; `denied`: the agent's own units;
    `kept`: its folders and files, which nothing may be mounted over."""

    kinds: tuple[str, ...] = tuple(_KINDS)

    def __init__(
        self,
        backend: SystemdBackend,
        home: Home,
        *,
        state: Path,
        denied: Collection[str] = (),
        kept: Collection[Path] = (),
    ) -> None:
        self._backend = backend
        self._denied = frozenset(denied)
        self._kept = Kept(kept)
        self._is_user = home.is_user
        self._files = UnitFiles(home, state)
        self._verifier = Verifier(home, state)
        self._wanted: dict[ResourceKey, tuple[str, Wanted]] = {}

    def check(self, resource: Resource, scope: Scope) -> None:
        self._want(resource, scope)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Have systemd itself read the files, as copies."""
        want = self._want(resource, scope)
        await anyio.to_thread.run_sync(self._verifier.verify, want.name, want.files, want.digest)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found: dict[ResourceKey, Observed] = {}
        wants: dict[ResourceKey, Wanted] = {}
        for resource in resources:
            try:
                wants[resource.key] = self._want(resource, scope)
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
        disks, fresh = await in_turn(self._files.look, wants)
        names = [want.name for want in wants.values()]
        self._files.follow(wants.values())
        self._backend.follow(names)
        states = await self._backend.states(names, fresh=fresh)
        for key, want in wants.items():
            state = states[want.name]
            found[key] = _observed(key, want, disks[key], state, await self._told(state))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource, scope)
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
        previous = scope.previous.get(key) or {}
        before = (previous.get("spec") or {}).get("unit")
        await transition.run(
            self._backend, want, state, again=stale, before=before if isinstance(before, str) else None
        )
        await anyio.to_thread.run_sync(self._files.mark_in_effect, want)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger, not by `body`: a unit that another resource has taken over stays."""
        self._wanted.pop(key, None)
        paths = await anyio.to_thread.run_sync(self._files.paths, key)
        await self._take_away(paths)
        if not paths:  # an earlier try may have been cut off between the last file and this
            await self._backend.reload()

    async def logs(self, key: ResourceKey, body: dict[str, Any], lines: int) -> str:
        unit = _KINDS[body["kind"]](body["spec"], body["metadata"]["name"], self._denied).name
        return await anyio.to_thread.run_sync(
            partial(journal.tail, unit, lines, is_user=self._is_user, programs=Programs()), abandon_on_cancel=True
        )

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._files.run_watch, wake)  # systemd does not tell of edited files
            group.start_soon(self._backend.run_signals, wake)

    async def close(self) -> None:
        await self._backend.close()

    def _want(self, resource: Resource, scope: Scope) -> Wanted:
        """Return what the unit is, what it is to be restarted with included."""
        want = self._alone(resource)
        if not want.restart_on:
            return want
        missing = [key for key in want.restart_on if key not in scope.resources]
        if missing:
            hint = "name resources of the same target"
            raise PermanentError(f"spec.restartOn: {missing[0]} is not there", reason="MissingReference", hint=hint)
        read = [[key, scope.resources[key].digest] for key in sorted(want.restart_on)]
        return msgspec.structs.replace(want, digest=digest([want.digest, read]))

    def _alone(self, resource: Resource) -> Wanted:
        known = self._wanted.get(resource.key)
        if known is not None and known[0] == resource.digest:
            return known[1]
        try:
            want = _KINDS[resource.kind](resource.spec, resource.name, self._denied)
            if resource.kind == "SystemdMount":
                self._kept.refuse(systemd_mount.place_of(resource.spec["unit"]))
        except WireError as error:
            raise failures.refusal(error) from None
        self._wanted[resource.key] = (resource.digest, want)
        return want

    async def find(self, kind: str, name: str, namespace: str) -> Sequence[dict[str, Any]]:
        """Return a service of the machine by its name, whoever made it; what else there is nobody lists here."""
        if kind != "SystemdService" or not name:
            raise UnsupportedError("only services are found, each by its name", reason="NotListed")
        unit = name if name.endswith(".service") else f"{name}.service"
        state = (await self._backend.states([unit], fresh=True))[unit]
        if state.load == "not-found":
            return []
        ready = state.active in {"active", "reloading"}
        status = unit_status(state, "ready" if ready else "degraded", "" if ready else "Inactive", "")
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        return [{"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": metadata, "status": status}]

    async def _told(self, state: UnitState) -> dict[str, Any]:
        """Return what the kind of unit tells beside its state; {} for one that is down, and for services."""
        asked = ASKED.get(f".{state.name.rpartition('.')[2]}", ())
        if not asked or state.active != "active":
            return {}
        boot_usec = (time.time_ns() - time.monotonic_ns()) // 1000
        return kind_status(state.name, await self._backend.properties(state.name, asked), boot_usec=boot_usec)

    def _refuse_shared(self, resource: Resource, want: Wanted, scope: Scope) -> None:
        """Two resources of one unit would overwrite each other for ever."""
        owner = self._files.owner(want)
        other = scope.resources.get(owner) if owner is not None and owner != resource.key else None
        if other is not None and other.kind in _KINDS and self._want(other, scope).name == want.name:
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

    async def _take_away(self, paths: Sequence[str]) -> None:  # [inv: only-owned-things-are-removed]
        """Stop and disable the units among `paths` of ours, then remove the files. Repeatable at any point."""
        units = [os.path.basename(path) for path in paths if self._files.is_unit(path)]
        for unit in units:
            await transition.down(self._backend, unit)
            await self._backend.disable(unit)
        if paths:
            await anyio.to_thread.run_sync(self._files.take_away, paths)
            await self._backend.reload()
        for unit in units:
            await self._backend.reset_failed(unit)


def _observed(key: ResourceKey, want: Wanted, disk: OnDisk, state: UnitState, told: dict[str, Any]) -> Observed:
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
        detail=detail | told,
        status=unit_status(state, stands.readiness, stands.reason, stands.message) | told,
    )
