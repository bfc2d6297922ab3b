"""Names of units: which may be ours, and how they stand in paths. Pure."""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Final

from holdfast_protocol.errors import WireError

SUFFIX: Final = ".service"
MAX_NAME: Final = 255
_NAME: Final = re.compile(r"[A-Za-z0-9:_.-]+")
_ANY: Final = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_KINDS: Final = (
    ".service",
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
    "holdfast-.*",  # a folder of drop-ins for all whose names begin so
    "system.slice",
    "-.slice",
    "init.scope",
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
# Of the machine's own, and yet a site may do without them.
OPTIONAL: Final = (
    "systemd-timesyncd.service",
    "systemd-time-wait-sync.service",
    "systemd-networkd-wait-online*",
    "systemd-tmpfiles-clean.timer",
    "systemd-homed*",
    "systemd-oomd*",
    "systemd-pstore.service",
    "systemd-rfkill.*",
)
# What ends everything else when it starts.
ENDING: Final = (
    "poweroff.target",
    "halt.target",
    "reboot.target",
    "soft-reboot.target",
    "kexec.target",
    "exit.target",
    "final.target",
    "shutdown.target",
    "rescue.*",
    "emergency.*",
    "suspend*.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "sleep.target",
    "systemd-poweroff.service",
    "systemd-halt.service",
    "systemd-reboot.service",
    "systemd-kexec.service",
    "systemd-suspend*.service",
    "systemd-hibernate.service",
)


def unit_name(name: str, denied: Collection[str] = (), suffix: str = SUFFIX) -> str:
    """Return the unit a resource's name means, or raise WireError: BadName, or EssentialUnit for one of the
    machine's own or of `denied` (the agent's)."""
    full = name if name.endswith(suffix) else name + suffix
    stem = full.removesuffix(suffix)
    if not _NAME.fullmatch(stem) or len(full) > MAX_NAME or stem.startswith((".", "-")):
        raise WireError(
            f"{name[:100]!r} cannot name a {suffix[1:]}",
            reason="BadName",
            hint="letters, digits and . _ : - (no templates: write each instance as its own unit)",
        )
    if stem.endswith(_KINDS):
        raise WireError(f"{name} names another kind of unit", reason="BadName", hint=f"its name ends with {suffix}")
    if is_essential(full, denied):
        raise WireError(f"{full} belongs to the machine itself", reason="EssentialUnit", hint="choose another name")
    return full


def any_unit(name: str) -> str:
    """Return a unit of somebody else's by its name, a service where it says no kind, or raise WireError with reason BadName."""
    full = name if name.endswith(_KINDS) else name + SUFFIX
    if not _ANY.fullmatch(full) or len(full) > MAX_NAME or full.startswith("."):
        raise WireError(
            f"{name[:100]!r} cannot name a unit", reason="BadName", hint="as systemctl shows it: cron.service"
        )
    return full


def mount_name(where: str) -> str:
    """Return the name of the unit that mounts at an absolute, plain path: what `systemd-escape --path` says."""
    text = "/".join(part for part in where.split("/") if part)
    found = []
    for at, byte in enumerate(text.encode()):
        char = chr(byte)
        plain = char.isascii() and (char.isalnum() or char in ":_.") and not (at == 0 and char == ".")
        found.append("-" if char == "/" else char if plain else f"\\x{byte:02x}")
    name = ("".join(found) or "-") + ".mount"
    if len(name) > MAX_NAME:
        raise WireError(f"{where[:100]!r} is too long for the name of a mount", reason="BadPath")
    return name


def drop_in_name(name: str) -> str:
    """Return the file name of a drop-in, or raise WireError with reason BadName."""
    full = name if name.endswith(".conf") else f"{name}.conf"
    if not _NAME.fullmatch(full) or len(full) > MAX_NAME or full.startswith("."):
        raise WireError(f"{name[:100]!r} cannot name a drop-in", reason="BadName", hint="letters, digits and . _ : -")
    return full


def is_essential(unit: str, denied: Collection[str] = ()) -> bool:  # [inv: agent-is-never-its-own-casualty]
    """Return whether a unit is one the site or the agent lives by."""
    return unit in denied or any(fnmatchcase(unit, pattern) for pattern in ESSENTIAL)


def is_ending(unit: str) -> bool:  # [inv: agent-is-never-its-own-casualty]
    """Return whether starting a unit ends the machine's work."""
    return any(fnmatchcase(unit, pattern) for pattern in ENDING)


def is_optional(unit: str) -> bool:
    """Return whether a unit of the machine's own may be changed or switched off nevertheless."""
    return any(fnmatchcase(unit, pattern) for pattern in OPTIONAL)
