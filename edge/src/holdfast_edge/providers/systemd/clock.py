"""The machine's time: its zone, and who sets its clock; both as before when the resource goes.

Who sets the clock is chrony where it is installed, else systemd-timesyncd: told by a file of its own, switched as a unit.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.systemd.foreign_units import ENABLED, UP, ForeignUnits
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.zone import Zone
from holdfast_protocol.errors import PermanentError, UnsupportedError, WireError
from holdfast_protocol.kinds import clock, systemd_unit
from holdfast_protocol.kinds.clock import Spec
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

CHRONY: Final = "chrony.service"
TIMESYNCD: Final = "systemd-timesyncd.service"
_HEAD: Final = "# By Holdfast: changes made here are undone.\n"


class TimeProvider:
    """`backend`: the way to systemd; `state`: where the ledgers live."""

    kinds: tuple[str, ...] = ("Time",)

    def __init__(
        self,
        backend: SystemdBackend,
        *,
        state: Path,
        etc: Path = Path("/etc"),
        synchronized: Path = Path("/run/systemd/timesync/synchronized"),
    ) -> None:
        self._backend = backend
        self._etc = etc
        self._synchronized = synchronized
        self._units = ForeignUnits(backend, state / "units")
        self._texts = OwnedTexts(etc, state / "servers")
        self._zone = Zone(etc, state / "zone")

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)
        others = sorted(key for key, each in scope.resources.items() if each.kind == "Time")
        if others and others[0] != resource.key:
            raise PermanentError(f"the machine's time is already {others[0]}'s", reason="NameTaken")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """See that the machine knows the zone, and has somebody to set its clock."""
        want = _want(resource)
        await anyio.to_thread.run_sync(self._zone.check, want.timezone)
        if want.ntp is not None or want.ntp_servers:
            await self._keeper()

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        self._backend.follow([CHRONY, TIMESYNCD])
        states = await self._backend.states([CHRONY, TIMESYNCD], fresh=True)
        keeper, changed = _keeper(states), await self._units.changed()
        owners = {unit: each.key for unit, each in changed.items()}
        look = partial(self._one, state=states.get(keeper), owners=owners)
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, look)
        self._texts.follow(self._path(keeper, each.name) for each in resources if is_name(each.name))
        self._zone.follow()
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        want, key = _want(resource), resource.key
        await anyio.to_thread.run_sync(self._zone.put, key, want.timezone)
        if want.ntp is None and not want.ntp_servers:
            await self._give_back(key)
            return
        keeper = await self._keeper()
        path = self._path(keeper, resource.name)
        others = [each for each in self._texts.paths(key) if each != path or not want.ntp_servers]
        await self._take_away(key, others)
        text = _text(want, keeper)
        stale = bool(want.ntp_servers) and await anyio.to_thread.run_sync(self._write, key, path, text)
        if want.ntp is None:
            await self._units.give_back(key)
        else:
            await self._units.bring(key, systemd_unit.Wanted(keeper, want.ntp, None, want.ntp))
        if stale:
            await self._backend.restart(keeper, only_if_up=True)
            await anyio.to_thread.run_sync(self._texts.annotate, path, digest(text))

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:  # [inv: only-owned-things-are-removed]
        await self._give_back(key)
        await anyio.to_thread.run_sync(self._zone.take_away, key)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._texts.run_watch, wake)
            group.start_soon(self._zone.run_watch, wake)
            group.start_soon(self._backend.run_signals, wake)

    async def close(self) -> None:
        await self._backend.close()

    async def _give_back(self, key: ResourceKey) -> None:
        await self._units.give_back(key)
        await self._take_away(key, self._texts.paths(key))

    async def _take_away(self, key: ResourceKey, paths: Sequence[str]) -> None:
        """Empty files of servers, have who reads them read nothing, then remove them: a kill leaves them to be found."""
        for path in paths:
            await anyio.to_thread.run_sync(self._texts.put, key, path, _HEAD)
            keeper = CHRONY if path.endswith(".sources") else TIMESYNCD
            if (await self._backend.states([keeper], fresh=True))[keeper].load == "loaded":
                await self._backend.restart(keeper, only_if_up=True)
            await anyio.to_thread.run_sync(self._texts.take_away, path)

    async def _keeper(self) -> str:
        keeper = _keeper(await self._backend.states([CHRONY, TIMESYNCD], fresh=True))
        if not keeper:
            raise UnsupportedError(
                "nothing here sets the clock by NTP", reason="NoTimeService", hint="install systemd-timesyncd or chrony"
            )
        return keeper

    def _write(self, key: ResourceKey, path: str, text: str) -> bool:
        """Return whether who sets the clock must read the file again."""
        if not self._texts.difference(path, text) and self._texts.note(path) == digest(text):
            return False
        self._texts.put(key, path, text)
        return True

    def _path(self, keeper: str, name: str) -> str:
        """Return the file in which `keeper`, a unit, is told its servers."""
        if keeper == CHRONY:
            return str(self._etc / "chrony/sources.d" / f"holdfast-{name}.sources")
        return str(self._etc / "systemd/timesyncd.conf.d" / f"90-holdfast-{name}.conf")

    def _one(self, resource: Resource, *, state: UnitState | None, owners: Mapping[str, ResourceKey]) -> Observed:
        want, keeper = _want(resource), state.name if state is not None else ""
        found = self._zone.differences(resource.key, want.timezone)
        path = self._path(keeper, resource.name)
        if keeper and want.ntp_servers:
            text = _text(want, keeper)
            if said := self._texts.difference(path, text).removeprefix("file: "):
                found.append(f"ntpServers: {said}")
            elif self._texts.note(path) != digest(text):
                found.append("ntpServers: not in effect yet")
        ours = self._texts.paths(resource.key)
        found += [f"ntpServers: {each} is left over" for each in ours if each != path or not want.ntp_servers]
        if want.ntp is not None and state is not None:
            found += _ntp_differences(want.ntp, state)
            if owners.get(keeper) != resource.key:
                found.append("ntp: not kept by us yet")
        if want.ntp is None and resource.key in owners.values():
            found.append("ntp: is not given back")
        missing = not keeper and (want.ntp is not None or bool(want.ntp_servers))
        starting = want.ntp is True and state is not None and (state.active != "active" or bool(state.job))
        status = {
            "timezone": self._zone.now(),
            "ntp": state is not None and state.active in UP,
            "service": keeper,
            "synchronized": self._synchronized.exists(),
        }
        return Observed(
            key=resource.key,
            exists=bool(self._zone.is_of(resource.key) or self._texts.paths(resource.key))
            or resource.key in owners.values(),
            differences=(*found, *(("ntp: nothing here sets the clock",) if missing else ())),
            readiness="degraded" if missing else "progressing" if starting else "ready",
            reason="NoTimeService" if missing else "Starting" if starting else "",
            detail=status,
            status=status,
        )


def _keeper(states: Mapping[str, UnitState]) -> str:
    return next((unit for unit in (CHRONY, TIMESYNCD) if states[unit].load == "loaded"), "")


def _ntp_differences(ntp: bool, state: UnitState) -> list[str]:
    up, enabled = state.active in UP, state.file_state in ENABLED
    return [
        *([] if up == ntp else [f"ntp: {state.name} is {state.active}"]),
        *([] if enabled == ntp else [f"ntp: {state.name} is {state.file_state or 'unknown'}"]),
    ]


def _text(want: Spec, keeper: str) -> str:
    return _HEAD + (clock.render_chrony(want) if keeper == CHRONY else clock.render_timesyncd(want))


def _want(resource: Resource) -> Spec:
    if not is_name(resource.name):
        raise PermanentError(f"{resource.name[:100]!r} cannot name a file of settings", reason="BadName")
    try:
        return clock.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
