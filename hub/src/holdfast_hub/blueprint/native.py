"""Kinds of the operating system in the form the machine itself reads at boot, as the table of kinds writes it. Pure."""

from typing import Any

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.table import KINDS
from holdfast_protocol.wire.names import is_name


def native_files(body: dict[str, Any]) -> dict[str, str] | None:
    """Return the files a resource of such a kind is, text by relative path, None for all other kinds.

    Raises WireError for what cannot be said.
    """
    kind = KINDS.get(body["kind"])
    if kind is None or kind.native is None:
        return None
    name = str(body["metadata"]["name"])
    if kind.named and not is_name(name):
        raise WireError(f"{name[:100]!r} cannot name a file of settings", reason="BadName")
    return kind.native(body.get("spec") or {}, name)
