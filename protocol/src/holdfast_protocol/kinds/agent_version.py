"""An AgentVersion's spec: which version the agent of a node is to be, from wheels that are on its disk."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.paths import path_parts
from holdfast_protocol.kinds.shapes import invalid, shaped

_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+!_-]{0,63}")
MAX_DEADLINE: Final = 3600  # seconds


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written."""

    version: str
    wheels: str  # a folder on the node: of the agent, of the protocol, and of what they need and the node has not
    deadline_seconds: int = 120  # until it must be healthy


def wanted(spec: dict[str, Any], _name: str = "") -> Spec:
    """Return the spec, checked. Raises WireError: InvalidSpec, BadPath."""
    given = shaped(spec, Spec)
    if not _VERSION.fullmatch(given.version):
        raise invalid(f"spec.version: {given.version[:80]!r} is no version", "as holdfast-edge says it: 0.2.0")
    path_parts(given.wheels, "spec.wheels")
    if not 10 <= given.deadline_seconds <= MAX_DEADLINE:
        raise invalid(f"spec.deadlineSeconds: must be 10 to {MAX_DEADLINE}")
    return given
