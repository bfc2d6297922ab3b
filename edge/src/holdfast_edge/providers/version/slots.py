"""Slots: two folders with a version of the agent each, a link that says which counts, and what an upgrade leaves there.

Blocking: call from a thread. The launcher beside them reads the same files.
"""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from holdfast_edge import launcher
from holdfast_edge.providers.disk import failures
from holdfast_protocol.errors import ConflictError, PermanentError, TransientError
from holdfast_protocol.wire.digest import digest

NAMES: Final = ("a", "b")
MAX_WHEELS: Final = 100
MAX_UNPACKED: Final = 1024 * 1024 * 1024  # bytes
_TRIES: Final = (
    "import holdfast_edge.agent, holdfast_edge.cli.main, holdfast_edge.ingest.bridges, holdfast_edge.ingest.devices;"
    "import holdfast_edge.ingest.site_broker, holdfast_edge.ingest.supervisor, holdfast_edge.page.server;"
    "import holdfast_protocol; print(holdfast_protocol.VERSION)"
)
_WITHIN: Final = 120.0  # seconds for a new version to say which it is


class Slots:
    """`folder`: where they are, below the agent's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, version: str) -> None:
        """Make them, the first of them the agent as it is installed. Raises ConflictError when they are there."""
        if (self.folder / "current").is_symlink():
            raise ConflictError(f"{self.folder} has slots already", reason="Exists")
        for name in NAMES:
            (self.folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        launcher.synced(str(self.folder.parent))
        with open(self.folder / "launch.py", "wb") as file:
            file.write(Path(str(launcher.__file__)).read_bytes())
            file.flush()
            os.fsync(file.fileno())  # a unit will start it
        launcher.write(str(self.folder / NAMES[0] / "slot.json"), {"version": version, "python": sys.executable})
        launcher.point(str(self.folder), NAMES[0])

    @property
    def current(self) -> str:
        return launcher.current(str(self.folder))

    @property
    def other(self) -> str:
        return NAMES[1] if self.current == NAMES[0] else NAMES[0]

    @property
    def pending(self) -> dict[str, Any]:
        """Return the upgrade on trial, empty without one."""
        return launcher.read(str(self.folder / "pending.json"))

    @property
    def failed(self) -> dict[str, Any]:
        """Return the versions that were gone back from, with why."""
        return launcher.read(str(self.folder / "failed.json"))

    def confirm(self) -> None:
        """Keep the version on trial: it is healthy."""
        launcher.remove(str(self.folder / "pending.json"))

    def install(self, wheels: Path, version: str) -> str:
        """Unpack wheels into the slot that does not count, try whether that version starts there, and return the digest of
        the wheels. What is there already is not unpacked again. Raises PermanentError, TransientError while there are none,
        or while a version is on trial: that slot is the way back then. [inv: agent-is-never-its-own-casualty]"""
        if self.pending:
            raise TransientError("a version is on trial already", reason="OnTrial", after=10.0)
        found = sorted(wheels.glob("*.whl"))[: MAX_WHEELS + 1]
        if not found or len(found) > MAX_WHEELS:
            text = f"{wheels} has {len(found) or 'no'} wheels"
            raise TransientError(text, after=30.0, reason="NoWheels", hint="bring them there as Files")
        _refuse_loose(wheels, found)
        mark = digest([[each.name, each.stat().st_size, each.stat().st_mtime_ns] for each in found])
        slot = self.folder / self.other
        there = launcher.read(str(slot / "slot.json"))
        if (there.get("digest"), there.get("version")) == (mark, version):
            return mark
        launcher.remove(str(slot / "slot.json"))  # first: what is cut off while it goes is not there any more
        shutil.rmtree(slot, ignore_errors=True)
        library = slot / "lib"
        library.mkdir(parents=True)
        for wheel in found:
            _unpack(wheel, library)
        said = _said(library)
        if said != version:
            raise PermanentError(f"the wheels are of version {said}, not {version}", reason="OtherVersion")
        _settle(library)
        launcher.write(str(slot / "slot.json"), {"version": version, "python": sys.executable, "digest": mark})
        return mark

    def back_up(self, state: Path) -> None:
        """Copy the databases, queues of bridges too, for a version that changes them and is gone back from."""
        before = self.folder / launcher.BEFORE
        shutil.rmtree(before, ignore_errors=True)  # of an earlier one
        before.mkdir(mode=0o700, exist_ok=True)
        for database in sorted((*state.glob("*.db"), *state.glob("bridges/*.db"))):
            copy = before / database.relative_to(state)
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            copy.touch(mode=0o600)  # secrets are in it
            source = f"file:{database}?mode=ro"
            with closing(sqlite3.connect(source, uri=True)) as held, closing(sqlite3.connect(copy)) as made:
                held.backup(made)

    def switch(self, pending: dict[str, Any]) -> None:
        """Let the other slot count, on trial."""
        launcher.write(str(self.folder / "pending.json"), pending)
        launcher.point(str(self.folder), pending["to"])


def _refuse_loose(wheels: Path, found: Sequence[Path]) -> None:
    """Raise PermanentError where somebody else may put other wheels in their place: they run as the agent."""
    real = Path(os.path.realpath(wheels))
    try:
        for path in (*(Path(os.path.realpath(each)) for each in found), real, *real.parents):
            seen = path.stat()
            others = seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not seen.st_mode & stat.S_ISVTX
            if others or seen.st_uid not in {0, os.geteuid()}:
                hint = "give it to root, and let nobody else write in it"
                raise PermanentError(f"{path} may be changed by others", reason="UnsafeFolder", hint=hint)
    except OSError as error:
        raise failures.provider_error(error, str(wheels)) from error


def _unpack(wheel: Path, library: Path) -> None:
    import zipfile  # the agent imports this module at each start, and unpacks once a version

    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
            for each in entries:
                parts = Path(each.filename).parts
                if os.path.isabs(each.filename) or ".." in parts:
                    raise PermanentError(f"{wheel.name}: {each.filename[:100]!r} leads outside", reason="BadWheel")
            if sum(each.file_size for each in entries) > MAX_UNPACKED:
                raise PermanentError(f"{wheel.name}: more than {MAX_UNPACKED} bytes", reason="BadWheel")
            archive.extractall(library)  # names were checked
    except (zipfile.BadZipFile, zlib.error) as error:
        raise PermanentError(f"{wheel.name}: {error}", reason="BadWheel") from None
    except OSError as error:
        raise failures.provider_error(error, wheel.name) from None


def _settle(library: Path) -> None:
    """Have all of a folder on the disk: a version may be kept a moment after its switch, and then the power go."""
    try:
        for place, _, names in os.walk(library):
            for path in (*(os.path.join(place, name) for name in names), place):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
    except OSError as error:
        raise failures.provider_error(error, str(library)) from error


def _said(library: Path) -> str:
    """Return which version starts from a folder. PermanentError when none does, TransientError when it takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIES],
            env={**os.environ, "PYTHONPATH": str(library)},
            capture_output=True,
            timeout=_WITHIN,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        text = f"the new version did not start within {_WITHIN:g} s"
        raise TransientError(text, after=30.0, reason="Deadline") from None
    except OSError as error:
        raise failures.provider_error(error, sys.executable) from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise PermanentError(f"the new version does not start: {' '.join(last)[:300]}", reason="BadVersion")
    return done.stdout.decode().strip()
