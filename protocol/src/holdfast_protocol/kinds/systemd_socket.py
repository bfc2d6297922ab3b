"""A SystemdSocket's spec, checked, and the files it is: its service is another resource, `running: onDemand`."""

from collections.abc import Collection
from typing import Any

from holdfast_protocol.kinds import trigger, units
from holdfast_protocol.kinds.units import Wanted


class Spec(trigger.Trigger, frozen=True):
    """The spec as written."""


def wanted(spec: dict[str, Any], name: str, denied: Collection[str] = ()) -> Wanted:
    """Return what the spec of the resource `name` wants; `denied` are units it must not touch, beside the machine's own.

    Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    return trigger.wanted(spec, name, units.SOCKET, denied)


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the socket as the machine reads it, by path below /etc."""
    return units.native_files(wanted(spec, name))
