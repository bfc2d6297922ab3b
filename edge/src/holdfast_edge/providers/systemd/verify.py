"""What systemd itself says of unit files before they are there: `systemd-analyze verify` on copies. Blocking.

Only what it would pass over counts: a misspelt setting, a value it cannot read. Programs, files and other units that are not
there yet may come with the same target.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from holdfast_edge.providers.disk.scratch import Scratch
from holdfast_edge.providers.systemd.home import Home
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.units import File

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_WITHIN: Final = 20.0  # seconds
_MOST: Final = 5  # complaints told at once
_LOCATED: Final = re.compile(r"(?P<path>/[^\n]*?):(?P<line>\d+): (?P<said>.*)")
_PASSED_OVER: Final = re.compile(r"ignoring|refusing", re.IGNORECASE)


class Verifier:
    """`home`: which systemd; `state`: where the copies are. Without `systemd-analyze` nothing is verified."""

    def __init__(self, home: Home, state: Path, path: str = _PATH) -> None:
        self._home = home
        self._scratch = Scratch(state / "trial")
        self._path = path
        self._fine: set[str] = set()  # digests of what was verified

    def verify(self, unit: str, files: Sequence[File], digest: str) -> None:
        """Raise PermanentError BadUnit with field and line for what systemd would not take as it is written; TransientError
        where there is no room for the copies."""
        program = shutil.which("systemd-analyze", path=self._path)
        if program is None or digest in self._fine:
            return
        with self._scratch.room() as room:
            for file in files:
                path = room / file.path
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(file.content)
            said = self._said(program, unit, str(room))
            found = list(_complaints(said, unit, str(room)))
        if found:
            more = f" (and {len(found) - _MOST} more)" if len(found) > _MOST else ""
            raise PermanentError(
                "; ".join(found[:_MOST]) + more, reason="BadUnit", hint="as this machine's systemd reads it"
            )
        if len(self._fine) > 1000:
            self._fine.clear()
        self._fine.add(digest)

    def _said(self, program: str, unit: str, folder: str) -> str:
        environment = {"PATH": _PATH, "LC_ALL": "C", "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_LOG_LEVEL": "warning"}
        words = [program, "verify", "--man=no", unit]
        if self._home.is_user:
            words.insert(2, "--user")
            environment |= {"XDG_RUNTIME_DIR": str(self._home.runtime.parents[1]), "HOME": os.environ.get("HOME", "/")}
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_WITHIN,
                check=False,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""  # it is a second opinion: systemd says the rest when it loads the unit
        return done.stderr


def _complaints(said: str, unit: str, folder: str) -> Iterator[str]:
    for line in said.splitlines():
        located = _LOCATED.fullmatch(line.strip())
        if _PASSED_OVER.search(line) is None:
            continue
        if located is not None and located["path"].startswith(f"{folder}/"):
            yield f"{_field(Path(located['path']), unit)} line {located['line']}: {located['said']}"
        elif line.startswith(f"{unit}: "):
            yield f"spec.unit: {line.removeprefix(f'{unit}: ')}"


def _field(path: Path, unit: str) -> str:
    return "spec.unit" if path.name == unit else f"spec.dropIns.{path.name.removesuffix('.conf')}"
