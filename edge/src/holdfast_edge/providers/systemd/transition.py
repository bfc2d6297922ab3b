"""Bringing a unit up, down or into what its new text says. Some kinds cannot simply be restarted: a mount in use, a socket
whose service holds what it listens on."""

from typing import Final

from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_protocol.errors import TransientError, WireError
from holdfast_protocol.kinds import unit_text, units
from holdfast_protocol.kinds.unit_text import UnitText
from holdfast_protocol.kinds.units import Wanted

STOP_S: Final = 10.0  # a change waits so long for a unit to be down, then comes back later
_SOURCE: Final = ("What", "Where", "Type")
_UP: Final = frozenset({"active", "reloading", "activating"})


async def run(backend: SystemdBackend, want: Wanted, state: UnitState, *, again: bool, before: str | None) -> None:
    """Make the unit run or rest as wanted. `again`: its files have changed; `before` is the text it had as last applied."""
    up = state.active in _UP
    if want.running is False:
        if up:
            await backend.stop(want.name, within=0.0)
        return
    if again:
        await backend.reset_failed(want.name)
        await _restart(backend, want, up=up, before=before)
    elif want.running is True and not up and not (want.text.runs_to_completion and state.active == "inactive"):
        await backend.reset_failed(want.name)  # else the start limit it ran into would hold for us too
        await _free(backend, want)
        await backend.start(want.name)


async def _restart(backend: SystemdBackend, want: Wanted, *, up: bool, before: str | None) -> None:
    if want.running == "onDemand":
        await backend.restart(want.name, only_if_up=True)
    elif up and want.name.endswith(".mount"):
        await _remount(backend, want, before)
    else:
        await _free(backend, want)
        await backend.restart(want.name)


async def _remount(backend: SystemdBackend, want: Wanted, before: str | None) -> None:
    """Other options are taken where they are: what a tmpfs holds stays. Another source or place begins anew."""
    if before is not None and _source(before) == _source_of(want.text):
        await backend.refresh(want.name)
        return
    await down(backend, want.name)
    await backend.start(want.name)


async def down(backend: SystemdBackend, unit: str) -> None:
    """Stop a unit and see it down. Raises TransientError: StillStopping."""
    if not await backend.stop(unit, within=STOP_S):
        hint = "something uses what is mounted there: lsof, fuser" if unit.endswith(".mount") else ""
        raise TransientError(f"{unit} is still stopping", after=5.0, reason="StillStopping", hint=hint)


async def _free(backend: SystemdBackend, want: Wanted) -> None:
    """A socket starts only while its service is down; the next who connects starts it again."""
    if not want.name.endswith(".socket") or _is_set(want.text, "Accept"):
        return
    said = want.text.values("Socket", "Service")
    await down(backend, said[-1] if said else want.name.removesuffix(".socket") + ".service")


def _is_set(text: UnitText, key: str) -> bool:
    said = text.values("Socket", key)
    return bool(said) and said[-1].lower() in {"yes", "true", "on", "1", "y", "t"}


def _source(text: str) -> tuple[str, ...]:
    try:
        return _source_of(unit_text.read_unit(text, "unit", units.MOUNT.section))
    except WireError:  # of a version that took it
        return ()


def _source_of(text: UnitText) -> tuple[str, ...]:
    return tuple("".join(text.values("Mount", key)[-1:]) for key in _SOURCE)
