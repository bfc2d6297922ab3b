"""systemd over D-Bus: the SystemdBackend that needs nothing but the bus, by whichever door."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
import msgspec

from holdfast_edge.providers.systemd import door as doors
from holdfast_edge.providers.systemd.door import Door, Refused, Signal
from holdfast_edge.providers.systemd.names import escaped
from holdfast_edge.providers.systemd.port import UnitState
from holdfast_protocol.errors import ProviderError, TransientError

_SERVICE: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_CONTROL: Final = "org.freedesktop.systemd1.Manager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_SIGNALS: Final = ("UnitFilesChanged", "Reloading")
_NAME_CHANGES: Final = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{_SERVICE}'"
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_NO_UNIT: Final = ("NoSuchUnit", "UnitFileNotFound", "FileNotFound")
_MODE: Final = "replace"  # of a job: it takes the place of a contrary one


class DbusSystemd:
    """`address`: a D-Bus address, as unix:path=/run/dbus/system_bus_socket. Raises UnsupportedError `NoDoor` for a
    `door` that is not installed."""

    def __init__(self, address: str, door: doors.Name = "dbus-fast") -> None:
        self._bus = _opened(door, address, self._take)
        self._names: frozenset[str] = frozenset()
        self._matched: set[str] = set()
        self._followed = anyio.Event()
        self._wake: Callable[[], None] | None = None
        self._waiting: dict[str, anyio.Event] = {}  # by unit: somebody waits for a job of it
        self._outcomes: dict[str, str] = {}  # of the last job of a unit somebody waits for
        self._file_states: dict[str, str] = {}

    async def states(self, names: Sequence[str], *, fresh: bool) -> Mapping[str, UnitState]:
        if fresh:
            self._file_states.clear()
        if not names:
            return {}
        (listed,) = await self._call("ListUnitsByNames", "as", list(names))
        found = {row[0]: UnitState(row[0], load=row[2], active=row[3], sub=row[4], job=row[8]) for row in listed}
        for name in names:
            state = found.get(name, UnitState(name))
            state = msgspec.structs.replace(state, file_state=await self._file_state(name))
            if state.active not in {"active", "inactive"}:
                state = await self._with_result(state)
            found[name] = state
        return found

    async def reload(self) -> None:
        await self._call("Reload")

    async def enable(self, name: str, *, again: bool = False) -> None:
        self._file_states.clear()
        await self._call("ReenableUnitFiles" if again else "EnableUnitFiles", "asbb", [name], False, False)

    async def disable(self, name: str, *, runtime: bool = False) -> None:
        self._file_states.clear()
        try:
            await self._call("DisableUnitFiles", "asb", [name], runtime)
        except Refused as error:
            if error.reason not in _NO_UNIT:
                raise

    async def mask(self, name: str) -> None:
        self._file_states.clear()
        await self._call("MaskUnitFiles", "asbb", [name], False, False)

    async def unmask(self, name: str, *, runtime: bool = False) -> None:
        self._file_states.clear()
        await self._call("UnmaskUnitFiles", "asb", [name], runtime)

    async def start(self, name: str) -> None:
        await self._queue("StartUnit", name)

    async def restart(self, name: str, *, only_if_up: bool = False) -> None:
        await self._queue("TryRestartUnit" if only_if_up else "RestartUnit", name)

    async def refresh(self, name: str) -> None:
        await self._queue("ReloadUnit", name)

    async def stop(self, name: str, *, within: float) -> bool:
        await self._subscribe()
        rule = _jobs_of(name)
        await self._bus.match(rule)
        try:
            await self._call("StopUnit", "ss", name, _MODE)
            with anyio.move_on_after(within):
                while True:
                    event = self._waiting[name] = anyio.Event()  # before asking: the answer may come right after
                    if await self._is_down(name):
                        return True
                    if self._outcomes.pop(name, "") == "failed":  # of a mount in use
                        return False
                    await event.wait()
            return False
        except Refused as error:
            if error.reason in _NO_UNIT:
                return True
            raise
        finally:
            self._waiting.pop(name, None)
            self._outcomes.pop(name, None)
            with anyio.CancelScope(shield=True), suppress(ProviderError):  # a lost bus has forgotten the rule by itself
                await self._bus.match(rule, wanted=False)

    async def properties(self, name: str, asked: Sequence[str]) -> Mapping[str, Any]:
        found = {}
        for each in asked:
            with suppress(Refused):  # gone again meanwhile, or of another version
                found[each] = await self._property(name, each)
        return found

    async def reset_failed(self, name: str) -> None:
        try:
            await self._call("ResetFailedUnit", "s", name)
        except Refused as error:
            if error.reason not in _NO_UNIT:
                raise

    async def reboot(self) -> None:
        # As systemctl does it without logind: nothing may take the job's place any more.
        await self._call("StartUnit", "ss", "reboot.target", "replace-irreversibly")

    def follow(self, names: Collection[str]) -> None:
        if frozenset(names) != self._names:
            self._names = frozenset(names)
            self._followed.set()

    async def run_signals(self, wake: Callable[[], None]) -> None:
        retry = _FIRST_RETRY_S
        self._wake = wake
        try:
            while True:
                try:
                    await self._run_connected(wake)
                    retry = _FIRST_RETRY_S
                except ProviderError:  # no bus, or none that lets us: every look says so until there is one
                    retry = min(retry * 2, _LAST_RETRY_S)
                await anyio.sleep(retry)
        finally:
            self._wake = None

    async def close(self) -> None:
        self._bus.drop()

    async def _run_connected(self, wake: Callable[[], None]) -> None:
        """Subscribe, then keep the matches in step until the connection ends."""
        await self._bus.connect()
        self._matched = set()
        await self._bus.match(_NAME_CHANGES)
        await self._subscribe()
        for member in _SIGNALS:
            await self._bus.match(f"type='signal',sender='{_SERVICE}',interface='{_CONTROL}',member='{member}'")
        await self._match_units()
        self._file_states.clear()
        wake()  # what changed while nobody listened has no signal
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_matching, wake)
            await self._bus.lost()
            group.cancel_scope.cancel()
        wake()

    async def _run_matching(self, wake: Callable[[], None]) -> None:
        while True:
            await self._followed.wait()
            try:
                if await self._match_units():
                    wake()  # what changed between the look that led here and the new match has no signal
            except ProviderError:
                self._bus.drop()
                return

    async def _match_units(self) -> bool:
        """Match the followed units and no others; true when one is new."""
        self._followed = anyio.Event()
        wanted = self._names
        for name in sorted(self._matched - wanted):
            await self._bus.match(_changes_of(name), wanted=False)
            self._matched.discard(name)
        fresh = sorted(wanted - self._matched)
        for name in fresh:
            await self._bus.match(_changes_of(name))
            self._matched.add(name)
        return bool(fresh)

    def _take(self, message: Signal) -> None:
        match message.member:
            case "NameOwnerChanged":
                if message.body[0] == _SERVICE and message.body[1]:
                    self._bus.drop()  # systemd went or began anew: nothing of our subscription is left
                return
            case "JobRemoved":
                if event := self._waiting.get(unit := str(message.body[2])):
                    self._outcomes[unit] = str(message.body[3])
                    event.set()
                return
            case "UnitFilesChanged":
                self._file_states.clear()
            case "Reloading":
                self._file_states.clear()
                if message.body[0]:
                    return  # it has only begun
            case _:
                pass
        if self._wake is not None:
            self._wake()

    async def _subscribe(self) -> None:
        try:
            await self._call("Subscribe")
        except Refused as error:
            if error.reason != "AlreadySubscribed":
                raise

    async def _queue(self, member: str, name: str) -> None:
        try:
            await self._call(member, "ss", name, _MODE)
        except Refused as error:
            if error.reason in _NO_UNIT:  # it needs another unit, which may come yet
                raise TransientError(error.message, reason="MissingUnit") from error
            raise

    async def _is_down(self, name: str) -> bool:
        (rows,) = await self._call("ListUnitsByNames", "as", [name])
        return all(row[3] in {"inactive", "failed"} and not row[7] for row in rows)

    async def _file_state(self, name: str) -> str:
        known = self._file_states.get(name)
        if known is None:
            try:
                (known,) = await self._call("GetUnitFileState", "s", name)
            except Refused:  # there is no file of this name
                known = ""
            self._file_states[name] = str(known)
        return str(known)

    async def _with_result(self, state: UnitState) -> UnitState:
        try:
            state = msgspec.structs.replace(state, result=str(await self._property(state.name, "Result")))
            if not state.name.endswith(".service"):
                return state
            return msgspec.structs.replace(
                state,
                restarts=int(await self._property(state.name, "NRestarts")),
                status=int(await self._property(state.name, "ExecMainStatus")),
            )
        except Refused:  # gone again meanwhile
            return state

    async def _property(self, name: str, asked: str) -> Any:
        path = f"{_PATH}/unit/{escaped(name)}"
        interface = f"{_SERVICE}.{name.rpartition('.')[2].capitalize()}"
        (value,) = await self._bus.call(path, _PROPERTIES, "Get", "ss", interface, asked)
        return value

    def _call(self, member: str, signature: str = "", *body: Any) -> Awaitable[list[Any]]:
        return self._bus.call(_PATH, _CONTROL, member, signature, *body)


def _opened(door: doors.Name, address: str, receive: Callable[[Signal], None]) -> Door:
    if door == "pystemd":
        from holdfast_edge.providers.systemd.sd_bus import SdBus

        return SdBus(address, _SERVICE, receive)
    from holdfast_edge.providers.systemd.bus import Bus

    return Bus(address, _SERVICE, receive)


def _changes_of(name: str) -> str:
    path = f"{_PATH}/unit/{escaped(name)}"
    return f"type='signal',sender='{_SERVICE}',interface='{_PROPERTIES}',member='PropertiesChanged',path='{path}'"


def _jobs_of(name: str) -> str:
    return f"type='signal',sender='{_SERVICE}',interface='{_CONTROL}',member='JobRemoved',arg2='{name}'"
