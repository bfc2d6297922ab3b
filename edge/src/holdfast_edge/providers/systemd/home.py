"""Where a systemd keeps its units and is reached: the machine's, or a user's own."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from holdfast_protocol.errors import UnsupportedError

SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
_BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
_LINKS: Final = (".wants", ".requires", ".upholds")
_SETTLED_NS: Final = 2_000_000_000  # as for files: younger changes may hide another of the same tick


class Home(msgspec.Struct, frozen=True):
    address: str  # of its D-Bus
    units: Path  # where ours are written
    anchor: Path  # above it, and always there
    runtime: Path  # where runtime links and masks are

    @property
    def is_user(self) -> bool:
        return self.runtime != _BOOTED

    def links(self, unit: str, targets: tuple[str, ...]) -> list[str]:
        """Return the paths whose being there means that `unit` is enabled for `targets`."""
        return [str(self.units / f"{target}.wants" / unit) for target in targets]

    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes when any unit file, link or mask is added or removed. Blocking, a few dozen lstat."""
        found = []
        for folder in (self.units, self.runtime):
            with suppress(OSError):
                found.append(_stamp(str(folder)))
                with os.scandir(folder) as entries:
                    found += [_stamp(each.path) for each in entries if each.name.endswith(_LINKS)]
        return tuple(sorted(found))


def _stamp(path: str) -> tuple[str, int, int]:
    seen = os.stat(path)
    return (path, seen.st_mtime_ns, seen.st_ino if stat.S_ISDIR(seen.st_mode) else 0)


def is_settled(signature: tuple[tuple[str, int, int], ...], now_ns: int) -> bool:
    """Return whether an equal signature later means that nothing changed."""
    return all(abs(now_ns - mtime) > _SETTLED_NS for _, mtime, _ in signature)


def find_home(which: Literal["system", "user", ""], environ: Mapping[str, str]) -> Home:
    """Return the systemd asked for, or raise UnsupportedError saying why there is none."""
    if which == "":
        raise UnsupportedError("systemd is switched off in the settings", reason="NoSystemd")
    if which == "user":
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        if not runtime:
            raise UnsupportedError("XDG_RUNTIME_DIR is not set: no systemd of this user", reason="NoSystemd")
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "/", ".config")
        return Home(
            address=environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus",
            units=Path(os.path.realpath(config), "systemd", "user"),
            anchor=Path("/"),
            runtime=Path(runtime, "systemd", "user"),
        )
    if not _BOOTED.is_dir():
        raise UnsupportedError("this machine was not booted with systemd", reason="NoSystemd")
    return Home(
        address=environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS,
        units=Path("/etc/systemd/system"),
        anchor=Path("/etc/systemd"),
        runtime=_BOOTED,
    )
