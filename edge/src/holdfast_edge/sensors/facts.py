"""Facts: what this machine is, for placement and for people. Text only, cheap, read again for every hello."""

import hashlib
import os
import platform
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from holdfast_edge.core import profiles
from holdfast_edge.sensors.hardware import hardware_facts
from holdfast_protocol.runtime import zones

MAX_TEXT: Final = 128  # characters
_EXPRESSIONS: Final = ("cel_expr_python", "re2", "yaml")  # what blueprints are evaluated with; not imported
MAX_FACTS: Final = 60  # a hub takes 64


def facts(engine: str = "", root: Path = Path("/"), profile: str = "") -> dict[str, str]:
    """Return facts by name. `engine` is the container engine's socket, "" when none is configured; `profile` what the
    settings call this node, "": by its memory. Blocking, but memory only."""
    release = _release(root / "etc/os-release")
    memory = memory_mb(root)
    found = {
        "arch": platform.machine(),
        "os": release.get("ID", platform.system().lower()),
        "os-version": release.get("VERSION_ID", ""),
        "kernel": platform.release(),
        "hostname": platform.node(),
        "cpus": str(os.cpu_count() or 0),
        "memory-mb": str(memory or ""),
        "profile": profile or (profiles.by_memory(memory) if memory else ""),
        "machine": _machine(root / "etc/machine-id"),
        "time-zone": zones.local_name(root / "etc/localtime"),
        "expressions": "yes" if all(map(find_spec, _EXPRESSIONS)) else "no",
        "engine": "yes" if engine and _socket(engine, root) else "no",
        "engine-kind": _engine_kind(engine) if engine else "",
        "systemd-version": _systemd_version(root),
        "systemd": "yes" if (root / "run/systemd/system").is_dir() and shutil.which("systemctl") else "no",
    }
    told = {name: value[:MAX_TEXT] for name, value in (found | hardware_facts(root)).items() if value}
    return dict(list(told.items())[:MAX_FACTS])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _release(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in _text(path).splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def memory_mb(root: Path = Path("/")) -> int:
    """Return the machine's memory in MB, 0 when it does not say."""
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split():
            return int(rest.split()[0]) // 1024
    return 0


def _machine(path: Path) -> str:
    """The machine id itself is confidential (machine-id(5)): a keyed hash names the machine as well."""
    identifier = _text(path).strip()
    return hashlib.sha256(b"holdfast machine " + identifier.encode()).hexdigest()[:32] if identifier else ""


def _socket(url: str, root: Path) -> bool:
    scheme, _, path = url.partition("://")
    return (root / path.lstrip("/")).exists() if scheme == "unix" else bool(path)


def _engine_kind(url: str) -> str:
    return next((kind for kind in ("docker", "podman") if kind in url), "other")


def _systemd_version(root: Path) -> str:
    """The number in the name of its library: no program has to be started for it."""
    for folder in ("usr/lib/systemd", "lib/systemd", *(f"usr/lib/{platform.machine()}-linux-gnu/systemd",)):
        for library in sorted((root / folder).glob("libsystemd-shared-*.so")):
            return re.split(r"[.~-]", library.name.removeprefix("libsystemd-shared-"))[0]
    return ""
