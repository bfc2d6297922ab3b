"""Units that somebody else ships: enabled, masked and running as wanted, and as before when the resource goes.

There is no file of ours: what the unit says stays its shipper's business.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.systemd.foreign_units import ENABLED, UP, Changed, ForeignUnits
from holdfast_edge.providers.systemd.home import Home, is_settled
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.standing import reason_word
from holdfast_edge.providers.systemd.status import unit_status
from holdfast_edge.providers.systemd.written import written_by
from holdfast_protocol.errors import HoldfastError, PermanentError, WireError
from holdfast_protocol.kinds import systemd_unit
from holdfast_protocol.kinds.systemd_unit import Wanted
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class ForeignUnitProvider:
    """`home`: which systemd; `backend`: the way to it; `state`: where the ledger lives; `denied`: the agent's own units."""

    kinds: tuple[str, ...] = ("SystemdUnit",)

    def __init__(self, backend: SystemdBackend, home: Home, *, state: Path, denied: Collection[str] = ()) -> None:
        self._backend = backend
        self._home = home
        self._denied = frozenset(denied)
        self._units = ForeignUnits(backend, state)
        self._signature: tuple[tuple[str, int, int], ...] = ()
        self._watch = PathWatch(_folders)

    def check(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource)
        owner = written_by(want.name, scope)
        if owner is None:
            for other in scope.resources.values():
                if other.kind == "SystemdUnit" and other.key != resource.key and self._name(other) == want.name:
                    owner = min(other.key, resource.key)
        if owner is not None and owner != resource.key:
            raise PermanentError(f"{want.name} is already kept by {owner}", reason="NameTaken")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched. A mask that systemd would refuse is refused while the unit still runs."""
        await anyio.to_thread.run_sync(self._maskable, self._want(resource))

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found: dict[ResourceKey, Observed] = {}
        wants: dict[ResourceKey, Wanted] = {}
        for resource in resources:
            try:
                wants[resource.key] = self._want(resource)
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
        signature = await anyio.to_thread.run_sync(self._home.signature)
        changed = await self._units.changed()
        fresh = signature != self._signature or not is_settled(signature, time.time_ns())
        self._signature = signature
        names = [want.name for want in wants.values()]
        self._backend.follow(names)
        self._watch.follow(str(self._home.units / name) for name in names)
        states = await self._backend.states(names, fresh=fresh)
        for key, want in wants.items():
            found[key] = _observed(key, want, states[want.name], changed.get(want.name))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        want = self._want(resource)
        await anyio.to_thread.run_sync(self._maskable, want)
        await self._units.bring(resource.key, want)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: every unit of it as it stood before."""
        await self._units.give_back(key)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch.run, wake)  # a mask made by hand
            group.start_soon(self._backend.run_signals, wake)

    async def close(self) -> None:
        await self._backend.close()

    def _maskable(self, want: Wanted) -> None:
        file = self._home.units / want.name
        if want.masked and file.is_file() and not file.is_symlink():
            hint = "say enabled: false and running: false, or take the file away"
            raise PermanentError(f"systemd masks no unit that has a file as {file}", reason="UnitExists", hint=hint)

    def _name(self, resource: Resource) -> str:
        try:
            return self._want(resource).name
        except PermanentError:  # it says so itself
            return ""

    def _want(self, resource: Resource) -> Wanted:
        try:
            return systemd_unit.wanted(resource.spec, resource.name, self._denied)
        except WireError as error:
            raise failures.refusal(error) from None


def _folders(path: str) -> list[tuple[str, str]]:
    folder, _, name = path.rpartition("/")
    return [(folder, name)]


def _observed(key: ResourceKey, want: Wanted, state: UnitState, changed: Changed | None) -> Observed:
    masked = state.file_state.startswith("masked")
    stands = f"{state.active} ({state.sub})"
    found = []
    if want.masked is not None and want.masked != masked:
        found.append(f"masked: is {'masked' if masked else 'not'}")
    if want.enabled is not None and want.enabled != (state.file_state in ENABLED) and not masked:
        found.append(f"enabled: is {state.file_state or 'unknown'}")
    if want.running and state.active not in UP and state.job not in {"start", "restart"}:
        found.append(f"running: is {stands}")
    if (want.running is False or want.masked) and state.active in UP and state.job != "stop":
        found.append(f"running: is {stands}, wanted stopped")
    if changed is None or changed.key != key:
        found.append("unit: not kept by us yet")
    else:
        found += changed.unwanted(want)
    known = state.load != "not-found" or bool(state.file_state)
    readiness: Readiness = "ready"
    reason = message = ""
    if not known:
        readiness, reason, message = "degraded", "NoUnit", f"there is no {want.name} here"
    elif want.running and state.active == "failed":
        readiness, reason = "degraded", reason_word(state.result) if state.result else "Failed"
        message = f"{stands}: {state.result or 'failed'} {state.status}"
    elif want.running and (state.active == "activating" or state.job):
        readiness, reason, message = "progressing", "Starting", stands
    return Observed(
        key=key,
        exists=known,
        differences=tuple(found),
        readiness=readiness,
        reason=reason,
        message=message,
        detail={"unit": want.name, "active": state.active, "sub": state.sub, "enabled": state.file_state},
        status=unit_status(state, readiness, reason, message),
    )
