"""A DiskEncryption's spec: what must lie on encrypted storage. It asserts, and never changes anything."""

from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.kinds.paths import path_parts
from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_PLACES: Final = 50
Cipher = Literal["luks1", "luks2", "plain", "tcrypt", "bitlk", "fvault2", "loopaes"]


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written. At least one of the first three says something."""

    mounts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    swap: bool = False  # true: every swap in use as well
    types: tuple[Cipher, ...] = ()  # (): any


def wanted(spec: dict[str, Any]) -> Spec:
    """Return the spec, checked. Raises WireError: InvalidSpec, BadPath."""
    given = shaped(spec, Spec)
    if not given.mounts and not given.devices and not given.swap:
        raise invalid("spec: nothing is named", "name mounts, devices or swap: true")
    for field, places in (("mounts", given.mounts), ("devices", given.devices)):
        if len(places) > MAX_PLACES:
            raise invalid(f"spec.{field}: more than {MAX_PLACES}")
        for number, place in enumerate(places):
            parts = () if place == "/" else path_parts(place, f"spec.{field}[{number}]")
            if field == "devices" and (len(parts) < 2 or parts[0] != "dev"):
                raise invalid(f"spec.devices[{number}]: {place[:80]!r} is no device", "write it as /dev/…")
    return given
