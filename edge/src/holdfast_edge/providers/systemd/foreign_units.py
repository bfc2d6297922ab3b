"""Units that are not ours, brought to stand otherwise, and back. The ledger keeps how each stood, written before the first
change of it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_edge.providers.systemd import transition
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds.systemd_unit import Wanted
from holdfast_protocol.wire.names import ResourceKey

ENABLED: Final = frozenset({"enabled", "enabled-runtime"})
UP: Final = frozenset({"active", "reloading", "activating"})
_DOWN: Final = frozenset({"inactive", "failed"})
_FIXED: Final = frozenset({"static", "generated", "transient", "indirect", "alias"})


class Before(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a unit stood; None: nothing of it was changed."""

    enabled: bool | None = None
    masked: bool | None = None
    running: bool | None = None


class Changed(msgspec.Struct, frozen=True):
    """One unit: for whom it was changed, and how it stood."""

    key: ResourceKey
    before: Before

    def unwanted(self, want: Wanted) -> list[str]:
        """Return what was changed of it and is not wanted any more: it is still to be given back."""
        said = {
            "enabled": want.enabled is not None,
            "masked": want.masked is not None,
            "running": want.running is not None or bool(want.masked),
        }
        return [
            f"{name}: is not given back" for name in said if not said[name] and getattr(self.before, name) is not None
        ]


class ForeignUnits:
    """`state`: where the ledger lives, one entry for each unit, its note how the unit stood."""

    def __init__(self, backend: SystemdBackend, state: Path) -> None:
        self._backend = backend
        self._ledger = Ledger(state)
        self._lock = threading.Lock()

    async def changed(self) -> Mapping[str, Changed]:
        """Return the units that were changed for somebody."""
        entries = await anyio.to_thread.run_sync(lambda: list(self._ledger.entries.values()))
        return {entry.path: Changed(entry.key, _before(entry)) for entry in entries}

    async def bring(self, key: ResourceKey, want: Wanted) -> None:
        """Bring a unit to stand as wanted, and what is no longer wanted of it back. Every other unit of `key` goes back."""
        await self.give_back(key, keep=want.name)
        state = (await self._backend.states([want.name], fresh=True))[want.name]
        if state.load == "not-found" and not state.file_state:
            raise TransientError(
                f"there is no {want.name} here", after=30.0, reason="NoUnit", hint="install what ships it"
            )
        before = await anyio.to_thread.run_sync(self._remember, key, want, state)
        returned = Before(
            enabled=before.enabled if want.enabled is None else None,
            masked=before.masked if want.masked is None else None,
            running=before.running if want.running is None and not want.masked else None,
        )
        if returned != Before():
            await self._bring(want.name, state, _possible(returned, state))
            state = (await self._backend.states([want.name], fresh=True))[want.name]
        await self._bring(want.name, state, Before(want.enabled, want.masked, want.running))
        await anyio.to_thread.run_sync(self._remember_only, key, want)

    async def give_back(self, key: ResourceKey, *, keep: str = "") -> None:  # [inv: only-owned-things-are-removed]
        """Bring every unit of `key` but `keep` to stand as before us."""
        for entry in await anyio.to_thread.run_sync(lambda: list(self._ledger.entries.values())):
            if entry.key == key and entry.path != keep:
                state = (await self._backend.states([entry.path], fresh=True))[entry.path]
                if state.load != "not-found" or state.file_state:  # else what ships it went first
                    await self._bring(entry.path, state, _possible(_before(entry), state))
                await anyio.to_thread.run_sync(self._forget, entry.path)

    async def _bring(self, unit: str, state: UnitState, to: Before) -> None:
        """Change what is said in `to` and is not so. The mask comes off first and on last."""
        masked = state.file_state.startswith("masked")
        if masked and to.masked is False:
            await self._backend.unmask(unit, runtime=state.file_state == "masked-runtime")
            await self._backend.reload()
            state = (await self._backend.states([unit], fresh=True))[unit]
            masked = False
        if masked and (to.enabled or to.running):
            raise PermanentError(f"{unit} is masked", reason="Masked", hint="say masked: false")
        if to.enabled is not None and not masked and to.enabled != (state.file_state in ENABLED):
            if to.enabled and state.file_state in _FIXED:
                raise PermanentError(
                    f"{unit} is {state.file_state}: nothing in it says for what it is enabled",
                    reason="CannotBeEnabled",
                    hint="say running: true, or add [Install] by a SystemdDropIn",
                )
            if to.enabled:
                await self._backend.enable(unit)
            else:
                await self._backend.disable(unit, runtime=state.file_state == "enabled-runtime")
            await self._backend.reload()
        if to.running and state.active not in UP:
            await self._backend.reset_failed(unit)
            await self._backend.start(unit)
        if (to.running is False or to.masked) and (state.active not in _DOWN or state.job):
            await transition.down(self._backend, unit)
        if to.masked and not masked:
            await self._backend.mask(unit)
            await self._backend.reload()

    def _remember(self, key: ResourceKey, want: Wanted, state: UnitState) -> Before:
        """Write down how what is wanted stood before the first change of it; what is known already stays."""
        with self._lock:
            entry = self._ledger.entries.get(want.name)
            known = _before(entry) if entry is not None else Before()
            now = Before(
                enabled=state.file_state in ENABLED,
                masked=state.file_state.startswith("masked"),
                running=state.active in UP,
            )
            stops = want.running is not None or want.masked  # masking stops it
            before = Before(
                enabled=_first(known.enabled, now.enabled if want.enabled is not None else None),
                masked=_first(known.masked, now.masked if want.masked is not None else None),
                running=_first(known.running, now.running if stops else None),
            )
            self._ledger.put(Entry(path=want.name, key=key, note=msgspec.json.encode(before).decode()))
            return known

    def _remember_only(self, key: ResourceKey, want: Wanted) -> None:
        with self._lock:
            before = _before(self._ledger.entries[want.name])
            kept = Before(
                enabled=before.enabled if want.enabled is not None else None,
                masked=before.masked if want.masked is not None else None,
                running=before.running if want.running is not None or want.masked else None,
            )
            if kept != before:
                self._ledger.put(Entry(path=want.name, key=key, note=msgspec.json.encode(kept).decode()))

    def _forget(self, unit: str) -> None:
        with self._lock:
            self._ledger.forget(unit)


def _before(entry: Entry) -> Before:
    try:
        return msgspec.json.decode(entry.note or "{}", type=Before)
    except msgspec.DecodeError:
        return Before()  # of another version: what it told of is no longer known


def _possible(before: Before, state: UnitState) -> Before:
    """Return what can be given back: a unit somebody has masked meanwhile stays as it is."""
    return Before() if before.masked is None and state.file_state.startswith("masked") else before


def _first(one: bool | None, other: bool | None) -> bool | None:
    return other if one is None else one
