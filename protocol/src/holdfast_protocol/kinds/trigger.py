"""Units that start another one: timers and sockets say the same, each in a section of its own."""

from collections.abc import Collection
from typing import Any

import msgspec

from holdfast_protocol.kinds import unit_names, units
from holdfast_protocol.kinds.shapes import shaped
from holdfast_protocol.kinds.units import Shape, Wanted


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    unit: str  # the whole unit file
    name: str = ""  # "": metadata.name
    enabled: bool = True  # started at boot, as its [Install] section says
    running: bool = True  # up now
    drop_ins: dict[str, str] = {}  # more files by name, for the folder NAME.d
    take_over: bool = False  # of a unit of this name that was there before us


def wanted(spec: dict[str, Any], name: str, shape: Shape, denied: Collection[str]) -> Wanted:
    """Return what the spec wants of a unit of this `shape`. Raises as `units.assembled`."""
    given = shaped(spec, Trigger)
    return units.assembled(
        unit_names.unit_name(given.name or name, denied, shape.suffix),
        given.unit,
        given.drop_ins,
        shape,
        denied,
        enabled=given.enabled,
        running=given.running,
        take_over=given.take_over,
    )
