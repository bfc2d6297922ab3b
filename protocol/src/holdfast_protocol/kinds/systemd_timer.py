"""A SystemdTimer's spec, checked, and the files it is: its service is another resource, `running: onDemand`."""

from collections.abc import Collection
from typing import Any

import msgspec

from holdfast_protocol.kinds import unit_names, units
from holdfast_protocol.kinds.shapes import shaped
from holdfast_protocol.kinds.units import Wanted


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    unit: str  # the whole unit file
    name: str = ""  # "": metadata.name
    enabled: bool = True  # started at boot, as its [Install] section says
    running: bool = True  # up now
    drop_ins: dict[str, str] = {}  # more files by name, for the folder NAME.d
    take_over: bool = False  # of a unit of this name that was there before us


def wanted(spec: dict[str, Any], name: str, denied: Collection[str] = ()) -> Wanted:
    """Return what the spec of the resource `name` wants; `denied` are units it must not touch, beside the machine's own.

    Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    given = shaped(spec, Spec)
    return units.assembled(
        unit_names.unit_name(given.name or name, denied, units.TIMER.suffix),
        given.unit,
        given.drop_ins,
        units.TIMER,
        denied,
        enabled=given.enabled,
        running=given.running,
        take_over=given.take_over,
    )


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the timer as the machine reads it, by path below /etc."""
    return units.native_files(wanted(spec, name))
