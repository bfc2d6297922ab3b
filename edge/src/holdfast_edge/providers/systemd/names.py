"""Names of units: which may be ours, and how they stand in paths. Pure."""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Final

from holdfast_protocol.errors import PermanentError

SUFFIX: Final = ".service"
MAX_NAME: Final = 255
_NAME: Final = re.compile(r"[A-Za-z0-9:_.-]+")
_OTHER_KINDS: Final = (
    ".socket",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".slice",
    ".scope",
    ".device",
)
# A site that loses one of these may be out of reach for good.
ESSENTIAL: Final = (
    "systemd-*",
    "dbus.service",
    "dbus-broker*",
    "dbus-org.freedesktop.*",
    "ssh.service",
    "sshd.service",
    "init.service",
    "getty*",
    "serial-getty*",
    "console-getty*",
    "emergency.service",
    "rescue.service",
    "user@*",
    "user-runtime-dir@*",
    "polkit.service",
    "holdfast.service",
    "holdfast-edge*",
    "holdfast-hub*",
    "dbus.socket",
    "ssh.socket",
    "sysinit.target",
    "basic.target",
    "local-fs.target",
    "sockets.target",
    "network.target",
    "multi-user.target",
    "default.target",
    "-.mount",
)


def unit_name(name: str, denied: Collection[str] = ()) -> str:
    """Return the unit a resource's name means, or raise PermanentError: BadName, or EssentialUnit for one of the
    machine's own or of `denied` (the agent's)."""
    full = name if name.endswith(SUFFIX) else name + SUFFIX
    stem = full.removesuffix(SUFFIX)
    if not _NAME.fullmatch(stem) or len(full) > MAX_NAME or stem.startswith((".", "-")):
        raise PermanentError(
            f"{name[:100]!r} cannot name a service",
            reason="BadName",
            hint="letters, digits and . _ : - (no templates: write each instance as its own service)",
        )
    if stem.endswith(_OTHER_KINDS):
        raise PermanentError(f"{name} names another kind of unit", reason="BadName", hint="only services are managed")
    if is_essential(full, denied):
        raise PermanentError(
            f"{full} belongs to the machine itself", reason="EssentialUnit", hint="choose another name"
        )
    return full


def drop_in_name(name: str) -> str:
    """Return the file name of a drop-in, or raise PermanentError with reason BadName."""
    full = name if name.endswith(".conf") else f"{name}.conf"
    if not _NAME.fullmatch(full) or len(full) > MAX_NAME or full.startswith("."):
        raise PermanentError(
            f"{name[:100]!r} cannot name a drop-in", reason="BadName", hint="letters, digits and . _ : -"
        )
    return full


def is_essential(unit: str, denied: Collection[str] = ()) -> bool:  # [inv: agent-is-never-its-own-casualty]
    """Return whether a unit is one the site or the agent lives by."""
    return unit in denied or any(fnmatchcase(unit, pattern) for pattern in ESSENTIAL)


def escaped(unit: str) -> str:
    """Return a unit's name as D-Bus object paths carry it: every byte but letters and digits as _xx."""
    return "".join(
        chr(byte)
        if chr(byte).isascii() and chr(byte).isalnum() and not (at == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for at, byte in enumerate(unit.encode())
    )
