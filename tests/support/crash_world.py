"""The world of the crash tests: what a site should be at each generation, and by what a file tells of which one it is.

Files come, change and go; two stand there before us and come back; folders change their mode. `MachineWorld` adds units,
kernel settings and a firewall of a booted machine.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from holdfast_protocol.kinds.paths import TEMPORARY

FILES, TAKEN, FOLDERS, UNITS = 14, 2, 2, 2
BEFORE: Final = "stood here before\n"
_HEAD: Final = re.compile(r"# file (\S+) of generation (\d+)\n")
_SETTINGS: Final = ("net.ipv4.conf.lo.arp_notify", "net.ipv4.conf.lo.log_martians")


class World:
    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        """Put there what stands there before us."""
        for number in range(TAKEN):
            path = self._taken(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BEFORE)
            path.chmod(0o600)

    def bodies(self, generation: int) -> list[dict[str, Any]]:
        found = [
            _body("File", name, path=str(path), content=_text(name, generation), mode="0640")
            for name, path in self._files(generation).items()
        ]
        return found + [
            _body("Directory", f"folder{number}", path=str(path), mode=f"{_mode(generation):04o}")
            for number, path in enumerate(self._folders(generation))
        ]

    def broken(self) -> list[str]:
        """Return what is neither of one generation nor of another; half-written files have names of their own."""
        return [
            f"{path}: {said}"
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.name.startswith(TEMPORARY) and (said := _half(path))
        ]

    def differing(self, generation: int) -> list[str]:
        """Return what is not exactly as the generation wants it, leftovers included; 0: before the first."""
        wanted = {path: _text(name, generation) for name, path in self._files(generation).items() if generation}
        wanted |= {path: BEFORE for path in map(self._taken, range(TAKEN)) if path not in wanted}
        folders = {path for path in self._folders(generation) if generation}
        ways = {above for path in (*wanted, *folders) for above in path.parents if above.is_relative_to(self.root)}
        there = set(self.root.rglob("*"))
        found = [f"{path}: is there" for path in there - wanted.keys() - folders - ways]
        found += [f"{path}: is not there" for path in (wanted.keys() | folders) - there]
        found += [f"{path}: differs" for path, text in wanted.items() if path in there and path.read_text() != text]
        for path in there & (wanted.keys() | folders):
            mode = _mode(generation) if path in folders else 0o600 if wanted[path] == BEFORE else 0o640
            if path.stat().st_mode & 0o7777 != mode:
                found.append(f"{path}: mode {path.stat().st_mode:o}")
        return sorted(found)

    def _files(self, generation: int) -> dict[str, Path]:
        found = {
            f"f{number}": self.root / f"d{number % 3}" / f"f{number}"
            for number in range(FILES)
            if (number + generation) % 4
        }
        if generation % 2:
            found |= {f"t{number}": self._taken(number) for number in range(TAKEN)}
        return found

    def _folders(self, generation: int) -> list[Path]:
        return [self.root / f"folder{number}" for number in range(FOLDERS) if (number + generation) % 3]

    def _taken(self, number: int) -> Path:
        return self.root / "taken" / f"t{number}"


class MachineWorld(World):
    """Needs a booted machine with nftables and a network of its own."""

    def bodies(self, generation: int) -> list[dict[str, Any]]:
        found = super().bodies(generation)
        found += [
            _body("SystemdService", f"crash{number}", unit=_unit(f"crash{number}", generation), enabled=True)
            for number in self._units(generation)
        ]
        if generation % 3:
            found.append(_body("Sysctl", "crash", settings=dict.fromkeys(_SETTINGS, generation % 2)))
        if generation % 5:
            found.append(_body("Firewall", "crash", rules=[{"protocol": "tcp", "ports": [_port(generation)]}]))
        return found

    def broken(self) -> list[str]:
        units = [path for path in Path("/etc/systemd/system").glob("crash*.service") if path.is_file()]
        found = [f"{path}: {said}" for path in units if (said := _half(path))]
        ports = _ports()
        if ports and ports not in [[_port(generation)] for generation in range(1000)]:
            found.append(f"the firewall's table has rules for {ports}")
        return super().broken() + found

    def differing(self, generation: int) -> list[str]:
        found = super().differing(generation)
        wanted = {f"crash{number}.service" for number in self._units(generation) if generation}
        for name in (f"crash{number}.service" for number in range(UNITS)):
            says = _said("systemctl", "show", "-p", "Environment,ActiveState,UnitFileState", name).splitlines()
            fits = {"ActiveState=active", "UnitFileState=enabled", f"Environment=GENERATION={generation}"}
            if fits != set(says) if name in wanted else "ActiveState=active" in says:
                found.append(f"{name}: {says}")
            if name not in wanted and Path("/etc/systemd/system", name).exists():
                found.append(f"{name}: is there")
        ports = [_port(generation)] if generation % 5 else []
        if _ports() != ports:
            found.append(f"the firewall's table has rules for {_ports()}")
        for key in _SETTINGS:
            value = Path("/proc/sys", *key.split(".")).read_text().strip()
            if value != str(generation % 2 if generation % 3 else 0):
                found.append(f"{key} is {value}")
        return found

    def _units(self, generation: int) -> list[int]:
        return [number for number in range(UNITS) if (number + generation) % 3]


def _body(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _text(name: str, generation: int) -> str:
    size = 1 + 150 * (int(name[1:]) % 5 if name[0] == "f" else 0)  # to 20 KiB: more than a page
    return f"# file {name} of generation {generation}\n" * size


def _unit(name: str, generation: int) -> str:
    head = f"# file {name} of generation {generation}\n"
    service = f"Environment=GENERATION={generation}\nExecStart=/bin/sleep infinity\nRestart=always\n"
    return f"{head}[Service]\n{service}[Install]\nWantedBy=multi-user.target\n"


def _half(path: Path) -> str:
    """Return why a file is of no generation, "" when it is of one, or stood there before us."""
    text = path.read_text(errors="replace")
    if text == BEFORE:
        return ""
    head = _HEAD.match(text)
    if head is None:
        return f"begins with {text[:40]!r}, {len(text)} characters"
    name, generation = head[1], int(head[2])
    wanted = _unit(name, generation) if path.suffix == ".service" else _text(name, generation)
    return "" if text == wanted else f"of generation {generation}, {len(text)} of {len(wanted)} characters"


def _mode(generation: int) -> int:
    return 0o750 if generation % 2 else 0o700


def _port(generation: int) -> int:
    return 7000 + generation % 1000


def _ports() -> list[int]:
    """Return the ports of the rules that are not always there."""
    listed = json.loads(_said("nft", "-j", "list", "ruleset") or '{"nftables": []}')["nftables"]
    rules = [each["rule"]["expr"] for each in listed if "rule" in each and each["rule"]["table"] == "holdfast_crash"]
    found = [
        part["match"]["right"]
        for expr in rules
        for part in expr
        if "match" in part and part["match"]["left"].get("payload", {}).get("field") == "dport"
    ]
    return [port for port in found if isinstance(port, int) and 7000 <= port < 8000]


def _said(*words: str) -> str:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
