"""What is installed, as dpkg tells it, and who keeps its database from us. Blocking: call from a thread."""

import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.providers.disk.programs import Programs
from holdfast_protocol.errors import PermanentError, TransientError

_WITHIN: Final = 60.0  # seconds for a question
_FORMAT: Final = (
    "${Package}\\t${Version}\\t${db:Status-Want}\\t${db:Status-Status}\\t${Essential}\\t${Protected}\\t${Priority}\\n"
)
_LOCKS: Final = ("lock-frontend", "lock")
_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_HALF: Final = frozenset({"half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"})
_Signature = tuple[int, int, int]


class Installed(msgspec.Struct, frozen=True):
    """One package in dpkg's database; `state` in its words."""

    name: str
    version: str
    held: bool
    state: str
    protected: bool  # the system does not stand without it

    @property
    def there(self) -> bool:
        return self.state == "installed"


class Dpkg:
    """`folder`: /var/lib/dpkg. What dpkg says is remembered until its database changes."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self._programs = programs
        self._known: tuple[_Signature, dict[str, Installed]] | None = None

    def packages(self) -> Mapping[str, Installed]:
        """Return everything in the database by name, in one call. UnsupportedError NoProgram where there is no dpkg."""
        signature = self._signature()
        if self._known is None or self._known[0] != signature:
            done = self._programs.run("dpkg-query", ["-W", f"-f={_FORMAT}"], within=_WITHIN, package="dpkg")
            if done.status:
                raise TransientError(f"dpkg-query: {done.said}", reason="BadDatabase")
            rows = (line.split("\t") for line in done.out.splitlines())
            self._known = (signature, {row[0]: _installed(row) for row in rows if len(row) == 7})
        return self._known[1]

    def interrupted(self) -> bool:
        """Return whether a run of dpkg was cut off: by a kill, or with the power."""
        try:
            left = any(name.isdigit() for name in os.listdir(self.folder / "updates"))
        except OSError:
            left = False
        return left or any(each.state in _HALF for each in self.packages().values())

    def refuse_locked(self) -> None:
        """Raise TransientError DpkgLocked, naming who, while another program holds the database."""
        for name in _LOCKS:
            if pid := _holder(self.folder / name):
                who = f"{_program(pid)} (pid {pid})"
                raise TransientError(f"dpkg is held by {who}", after=3.0, reason="DpkgLocked", hint=f"let {who} finish")

    def owner(self, path: str) -> str:
        """Return the package a file is of, "" for none."""
        done = self._programs.run("dpkg-query", ["-S", path], within=_WITHIN, package="dpkg")
        return done.out.partition(":")[0] if done.status == 0 else ""

    def _signature(self) -> _Signature:
        try:
            seen = os.stat(self.folder / "status")
        except OSError:
            raise PermanentError(
                f"{self.folder}/status cannot be read", reason="NoDpkg", hint="this is no Debian system"
            ) from None
        return (seen.st_mtime_ns, seen.st_ino, seen.st_size)


def _installed(row: list[str]) -> Installed:
    protected = row[4] == "yes" or row[5] == "yes" or row[6] == "required"
    return Installed(row[0], row[1], row[2] == "hold", row[3], protected)


def _holder(path: Path) -> int:
    """Return who holds a lock of fcntl(2) on a file, 0 for nobody; a holder outside our pid namespace is -1."""
    try:
        with path.open("r+b") as file:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else pid or -1


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()[:40] or "a program"
    except OSError:
        return "a program"
