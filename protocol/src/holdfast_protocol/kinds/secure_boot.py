"""A SecureBoot's spec: how the machine must have been booted. It asserts, and never changes anything."""

from typing import Any, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

Lockdown = Literal["", "integrity", "confidentiality"]


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written; `{}` asks that secure boot is on and its keys are set."""

    enabled: bool = True
    lockdown: Lockdown = ""  # at least so far is the kernel locked down; "": not asked


def wanted(spec: dict[str, Any]) -> Spec:
    """Return the spec, checked. Raises WireError: InvalidSpec."""
    given = shaped(spec, Spec)
    if not given.enabled and not given.lockdown:
        raise invalid("spec: nothing is asked", "enabled: true, or a lockdown")
    return given
