"""A SystemdMount's spec, checked, and the files it is. The unit's name follows from its Where=, as systemd has it."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_names, unit_text, units
from holdfast_protocol.kinds.paths import path_parts
from holdfast_protocol.kinds.shapes import shaped
from holdfast_protocol.kinds.units import Wanted

# Mounted over, one of these takes the machine, or what it is started from, out of sight.
_WHOLE: Final = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "lib32",
        "lib64",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "srv",
        "sys",
        "tmp",
        "usr",
        "var",
    ]
)
_NEVER_BELOW: Final = frozenset(
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr"]
)
_STATE: Final = ("/var/lib", "/var/lib/dpkg", "/var/lib/systemd", "/var/lib/dbus", "/var/run")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    unit: str  # the whole unit file
    enabled: bool = True  # started at boot, as its [Install] section says
    running: bool = True  # up now
    drop_ins: dict[str, str] = {}  # more files by name, for the folder NAME.d
    take_over: bool = False  # of a unit for this place that was there before us


def wanted(spec: dict[str, Any], _name: str = "", denied: Collection[str] = ()) -> Wanted:
    """Return what the spec wants, whatever the resource's name; `denied` are units it must not touch.

    Raises WireError: InvalidSpec, BadUnit, BadPath, TooLarge, EssentialUnit, EssentialPath."""
    given = shaped(spec, Spec)
    where = place_of(given.unit)
    want = units.assembled(
        unit_names.mount_name(where),
        given.unit,
        given.drop_ins,
        units.MOUNT,
        denied,
        enabled=given.enabled,
        running=given.running,
        take_over=given.take_over,
    )
    if unit_names.is_essential(want.name, denied):
        raise WireError(f"{want.name} belongs to the machine itself", reason="EssentialUnit")
    return want


def place_of(text: str) -> str:
    """Return what the unit's Where= says. Raises WireError as `wanted`."""
    said = unit_text.read_unit(text, "spec.unit", units.MOUNT.section).values("Mount", "Where")
    if not said:
        raise WireError("spec.unit: [Mount] has no Where=", reason="BadUnit", hint="say it: Where=/srv/data")
    where = said[-1]
    if "%" in where or '"' in where or "\\" in where:
        raise WireError(
            f"spec.unit: Where={where[:100]} must be a plain path", reason="BadPath", hint="no % and no quotes"
        )
    parts = path_parts(where, "spec.unit")
    if (len(parts) == 1 and parts[0] in _WHOLE) or parts[0] in _NEVER_BELOW or where in _STATE:
        raise WireError(
            f"spec.unit: what is mounted at {where} hides a part of the machine itself",
            reason="EssentialPath",
            hint="mount below /srv, /mnt, /opt, /home or /var/lib",
        )
    return where


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the mount as the machine reads it, by path below /etc."""
    return units.native_files(wanted(spec, name))
