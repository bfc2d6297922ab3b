"""A Hostname's spec: the machine's static name."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_NAME: Final = 64  # bytes, the kernel's own limit
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written."""

    hostname: str = ""  # the machine's static name; "": metadata.name


def wanted(spec: dict[str, Any], name: str) -> str:
    """Return the name the spec of the resource `name` wants. Raises WireError: InvalidSpec."""
    given = shaped(spec, Spec).hostname or name
    labels = given.split(".")
    if (
        len(given) > MAX_NAME
        or not all(map(_LABEL.fullmatch, labels))
        or given.lower() in {"localhost", "localhost.localdomain"}
    ):
        raise invalid(
            f"spec.hostname: {given[:100]!r} cannot name a machine",
            f"labels of letters, digits and inner hyphens, at most {MAX_NAME} characters",
        )
    return given


def render(hostname: str) -> str:
    """Return the text of /etc/hostname."""
    return f"{hostname}\n"


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the file the machine itself reads at boot, by its path below /etc. It takes no comments before the name."""
    return {"hostname": render(wanted(spec, name))}
