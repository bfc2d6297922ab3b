"""A Group's spec: a group of the machine's own files. Who is in it, its users say."""

from typing import Any

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.kinds.user import MAX_ID, account_name


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written."""

    name: str = ""  # "": metadata.name
    gid: int | None = None
    system: bool = False


def wanted(spec: dict[str, Any], name: str) -> Spec:
    """Return the spec of the resource `name`, checked, with the group's name in it. Raises WireError InvalidSpec."""
    given = shaped(spec, Spec)
    if given.gid is not None and not 0 < given.gid <= MAX_ID:
        raise invalid(f"spec.gid: {given.gid} is not 1 to {MAX_ID}")
    return msgspec.structs.replace(given, name=account_name(given.name or name, "spec.name"))
