"""A SystemdUnit's spec: how a unit that somebody else ships should stand. Only what is set is compared and changed."""

from collections.abc import Collection
from typing import Any

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_names
from holdfast_protocol.kinds.shapes import invalid, shaped


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The spec as written; null is as left out."""

    name: str = ""  # with its suffix; "": metadata.name
    enabled: bool | None = None  # started at boot
    masked: bool | None = None  # impossible to start
    running: bool | None = None  # up now


class Wanted(msgspec.Struct, frozen=True):
    name: str
    enabled: bool | None
    masked: bool | None
    running: bool | None


def wanted(spec: dict[str, Any], name: str, denied: Collection[str] = ()) -> Wanted:
    """Return what the spec of the resource `name` wants; `denied` are units it must not touch at all.

    Raises WireError: InvalidSpec, BadName, EssentialUnit. [inv: agent-is-never-its-own-casualty]"""
    given = shaped(spec, Spec)
    unit = unit_names.any_unit(given.name or name)
    if "@." in unit:
        raise WireError(f"{unit} is a template", reason="BadName", hint="name an instance of it")
    if given.enabled is None and given.masked is None and given.running is None:
        raise invalid("spec: nothing is wanted", "say enabled, masked or running")
    if given.masked and (given.enabled or given.running):
        raise invalid("spec.masked: a masked unit is neither enabled nor running")
    takes = given.masked or given.enabled is False or given.running is False
    ours = unit in denied or unit.startswith("holdfast")
    ends = bool(given.running) and unit_names.is_ending(unit)
    if ours or ends or (takes and unit_names.is_essential(unit, denied) and not unit_names.is_optional(unit)):
        raise WireError(f"{unit} belongs to the machine itself", reason="EssentialUnit")
    return Wanted(unit, given.enabled, given.masked, given.running)


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return a preset and the commands that say the same, by path below /etc."""
    want = wanted(spec, name)
    words = [
        *({True: ["mask"], False: ["unmask"]}.get(want.masked, []) if want.masked is not None else []),
        *([] if want.enabled is None else ["enable" if want.enabled else "disable"]),
        *([] if want.running is None else ["start" if want.running else "stop"]),
    ]
    path = f"systemd/system-preset/50-{want.name}.preset"
    then = " && ".join(f"systemctl {word} {want.name}" for word in words)
    line = "" if want.enabled is None else f"{'enable' if want.enabled else 'disable'} {want.name}\n"
    return {path: f"# Install as /etc/{path}, then: {then}\n{line}"}
