"""One resource as it is now: what providers return and the plan is made from."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from holdfast_protocol.wire.names import ResourceKey

Readiness = Literal["ready", "progressing", "degraded"]


class Observed(msgspec.Struct, frozen=True):
    """One resource as it is now.

    `differences` names the owned fields that are not as wanted, each with a short why (empty: as wanted);
    `exists` false means nothing of it is there.
    """

    key: ResourceKey
    exists: bool
    differences: tuple[str, ...] = ()
    readiness: Readiness = "ready"
    reason: str = ""  # a CamelCase word for the readiness: CrashLoop, Inactive, Starting
    message: str = ""
    hint: str = ""  # what a person can do about it
    detail: Mapping[str, Any] = {}  # for status and health: pids, container ids, restarts
    status: Mapping[str, Any] = {}  # what the kind's Kubernetes `status` would say; expressions read it

    @property
    def as_wanted(self) -> bool:
        return self.exists and not self.differences


def in_text(value: Any) -> Any:
    """Return a value with "?" for what is no character in its texts: names on a disk may be any bytes, a report may not."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {in_text(key): in_text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_text(each) for each in value)
    if isinstance(value, Observed):
        return Observed(*(in_text(getattr(value, name)) for name in Observed.__struct_fields__))
    return value
