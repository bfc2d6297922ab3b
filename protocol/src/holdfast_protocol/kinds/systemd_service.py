"""A SystemdService's spec, checked, and the files it is."""

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_names, units
from holdfast_protocol.kinds.shapes import shaped
from holdfast_protocol.kinds.units import Running, Wanted
from holdfast_protocol.wire.names import ResourceKey

MAX_RESTART_ON: Final = 20
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}/[a-z0-9][-a-z0-9./]{0,252}")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    unit: str  # the whole unit file
    name: str = ""  # "": metadata.name
    enabled: bool = True  # started at boot, as its [Install] section says
    running: Running = True  # up now; onDemand: what triggers it starts it, and nobody stops it
    drop_ins: dict[str, str] = {}  # more files by name, for the folder NAME.d
    take_over: bool = False  # of a unit of this name that was there before us
    restart_on: tuple[str, ...] = ()  # resources of the same target (File/motd) with whose changes it is restarted


def wanted(spec: dict[str, Any], name: str, denied: Collection[str] = ()) -> Wanted:
    """Return what the spec of the resource `name` wants; `denied` are units it must not touch, beside the machine's own.

    Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    given = shaped(spec, Spec)
    if len(given.restart_on) > MAX_RESTART_ON:
        raise WireError(f"spec.restartOn: more than {MAX_RESTART_ON}", reason="InvalidSpec")
    for number, key in enumerate(given.restart_on):
        if not _KEY.fullmatch(key):
            hint = "KIND/NAME, as in status: File/motd"
            raise WireError(
                f"spec.restartOn[{number}]: {key[:80]!r} names no resource", reason="InvalidSpec", hint=hint
            )
    want = units.assembled(
        unit_names.unit_name(given.name or name, denied),
        given.unit,
        given.drop_ins,
        units.SERVICE,
        denied,
        enabled=given.enabled,
        running=given.running,
        take_over=given.take_over,
    )
    return msgspec.structs.replace(want, restart_on=tuple(ResourceKey(key) for key in given.restart_on))
