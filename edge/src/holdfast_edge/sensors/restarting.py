"""Restarting: what a machine says of needing one, and the word to those who look at it before it goes. Blocking."""

import os
import platform
import re
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.core.reboots import Ground

REQUIRED: Final = Path("/run/reboot-required")  # written by packages' own scripts on Debian and its kin
_MAX_BYTES: Final = 64 * 1024
_MAX_PACKAGES: Final = 40
_PACKAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:~_-]{0,127}")
_IMAGE: Final = "vmlinuz-"


def ground(required: Path = REQUIRED, boot: Path = Path("/boot"), running: str = "") -> Ground:
    """Return what the machine says now. A kernel counts only beside the one that runs: elsewhere its boot is another's."""
    running = running or platform.release()
    there = required.exists()
    return Ground(
        there, _packages(required.with_name(f"{required.name}.pkgs")) if there else (), running, _newest(boot, running)
    )


def _packages(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_BYTES).decode(errors="replace").split()
    except OSError:
        return ()
    return tuple(sorted({each for each in lines if _PACKAGE.fullmatch(each)}))[:_MAX_PACKAGES]


def _newest(boot: Path, running: str) -> str:
    try:
        found = [each.removeprefix(_IMAGE) for each in os.listdir(boot) if each.startswith(_IMAGE)]
    except OSError:
        return ""
    if running not in found:
        return ""
    flavour = _flavour(running)  # of another flavour none is ever the next of this one
    return max((each for each in found if _flavour(each) == flavour), key=_rank)


def _flavour(release: str) -> list[str]:
    """Return the words of a release: cloud, amd of 6.1.0-31-cloud-amd64."""
    return re.findall(r"[a-z_+]+", re.sub(r"\d+", "", release.lower()))


def _rank(release: str) -> list[tuple[int, int | str]]:
    """Return what orders releases as people read them: numbers by their value."""
    parts = re.findall(r"\d+|[a-z]+", release.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def announce(path: Path, said: dict[str, object] | None) -> None:
    """Put what is about to happen into a file, whole; None takes it away. One that cannot be written holds up nothing."""
    try:
        if said is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(msgspec.json.encode(said) + b"\n")
        beside.rename(path)
    except OSError:
        return
