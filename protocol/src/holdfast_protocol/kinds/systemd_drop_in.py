"""A SystemdDropIn's spec: settings added to a unit that somebody else ships."""

from collections.abc import Collection
from typing import Any

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_names, units
from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.kinds.units import File


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    drop_ins: dict[str, str]  # files by name, for the folder UNIT.d
    unit: str = ""  # with its suffix; "": metadata.name
    restart: bool = True  # the unit, if it runs, so that they take effect


class Wanted(msgspec.Struct, frozen=True):
    unit: str
    files: tuple[File, ...]
    digest: str  # of all files: what must be in effect
    restart: bool


def wanted(spec: dict[str, Any], name: str, denied: Collection[str] = ()) -> Wanted:
    """Return what the spec of the resource `name` wants; `denied` are units it must not touch, beside the machine's own.

    Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    given = shaped(spec, Spec)
    unit = unit_names.any_unit(given.unit or name)
    if unit_names.is_essential(unit, denied) and not unit_names.is_optional(unit):
        raise WireError(f"{unit} belongs to the machine itself", reason="EssentialUnit")
    if not given.drop_ins:
        raise invalid("spec.dropIns: there is none")
    files = units.drop_in_files(unit, given.drop_ins, "", denied)
    return Wanted(unit, files, units.digest_of(files), given.restart)


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the drop-ins as the machine reads them, by path below /etc."""
    want = wanted(spec, name)
    then = "systemctl daemon-reload" + (f" && systemctl try-restart {want.unit}" if want.restart else "")
    return {
        f"systemd/system/{each.path}": f"# Install as /etc/systemd/system/{each.path}, then: {then}\n"
        + each.content.decode()
        for each in want.files
    }
