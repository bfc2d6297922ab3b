"""Facts: what this machine is, for placement and for people. Text only, read once at start, cheap."""

import hashlib
import os
import platform
import shutil
from pathlib import Path
from typing import Final

MAX_TEXT: Final = 128  # characters


def facts(engine: str = "", root: Path = Path("/")) -> dict[str, str]:
    """Return facts by name. `engine` is the container engine's socket, "" when none is configured."""
    release = _release(root / "etc/os-release")
    found = {
        "arch": platform.machine(),
        "os": release.get("ID", platform.system().lower()),
        "os-version": release.get("VERSION_ID", ""),
        "kernel": platform.release(),
        "hostname": platform.node(),
        "cpus": str(os.cpu_count() or 0),
        "memory-mb": _memory_mb(root / "proc/meminfo"),
        "machine": _machine(root / "etc/machine-id"),
        "engine": "yes" if engine and _socket(engine, root) else "no",
        "systemd": "yes" if (root / "run/systemd/system").is_dir() and shutil.which("systemctl") else "no",
    }
    return {name: value[:MAX_TEXT] for name, value in found.items() if value}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _release(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in _text(path).splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _memory_mb(path: Path) -> str:
    for line in _text(path).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split():
            return str(int(rest.split()[0]) // 1024)
    return ""


def _machine(path: Path) -> str:
    """The machine id itself is confidential (machine-id(5)): a keyed hash names the machine as well."""
    identifier = _text(path).strip()
    return hashlib.sha256(b"holdfast machine " + identifier.encode()).hexdigest()[:32] if identifier else ""


def _socket(url: str, root: Path) -> bool:
    scheme, _, path = url.partition("://")
    return (root / path.lstrip("/")).exists() if scheme == "unix" else bool(path)
