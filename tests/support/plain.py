"""The lighter site, where no machine can be booted: plain processes in a user, mount and process namespace of their own.

What it has: an empty `/srv` (where its files go), a state folder, and an end that takes all its processes along. What it lacks
is in `LACKS`; the agent reports the kinds that need it as Unsupported.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

from support import enclose
from support.machines import CommandFailed
from support.waiting import HANGS_S, until

LACKS = ("a container engine", "systemd", "a network of its own")
_PROGRAMS = ("unshare", "nsenter", "mount")
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "--",
)


def why_not() -> str:
    """Return why lighter sites cannot be made here; empty when they can."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, timeout=HANGS_S, check=False)
    return f"no user namespaces ({tried.stderr.strip()})" if tried.returncode else ""


@dataclass
class PlainSite:
    """One lighter site. Made by `site`."""

    name: str
    folder: Path
    _first: int = 0  # the pid, on this host, of the first process of its namespaces
    _outer: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    @property
    def enter(self) -> list[str]:
        """The words before a command that run it inside."""
        return ["nsenter", "-t", str(self._first), "-U", "-m", "-p", "--preserve-credentials", "--"]

    def start(self) -> None:
        """Make the namespaces."""
        self.folder.mkdir(parents=True)
        ready = self.folder / "ready"
        with self._log("site") as log:
            self._outer = subprocess.Popen(
                [*_NAMESPACES, sys.executable, "-I", enclose.__file__, str(ready)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # ^C at a terminal is for us
            )
        until(ready.exists, HANGS_S, f"the namespaces of {self.name}")
        pid = self._outer.pid
        self._first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def run(
        self, arguments: Sequence[str], *, stdin: bytes | str = b"", check: bool = True, timeout: float = HANGS_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, to its end. CommandFailed on another status than 0, unless `check` is off."""
        done = subprocess.run(
            [*self.enter, *arguments],
            input=stdin.decode() if isinstance(stdin, bytes) else stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise CommandFailed(f"{self.name}: {' '.join(arguments)[:200]}: status {done.returncode}: {said}")
        return done

    def read(self, path: str) -> str:
        return self.run(["cat", "--", path]).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).returncode == 0

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file there, with the folders above it."""
        self.run(["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path], stdin=content)

    def start_program(self, name: str, arguments: Sequence[str]) -> None:
        """Start a long-running program inside; its output goes to `<name>.log` in the site's folder."""
        with self._log(name) as log:
            self._programs[name] = subprocess.Popen(
                [*self.enter, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_program(self, name: str) -> None:
        """Ask a program to end, and wait until it has."""
        program = self._programs.pop(name)
        # nsenter waits for its child, which alone is to be asked.
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        for child in children or [str(program.pid)]:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)
        program.wait(30)

    def log(self, name: str, lines: int = 200) -> str:
        """Return the last lines a program wrote."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End every process of the site."""
        if self._outer is not None:
            self._outer.communicate()  # closes its standard input, which takes all others along
        for program in self._programs.values():
            program.wait(10)
        self._programs.clear()

    def _log(self, name: str) -> BufferedWriter:
        return (self.folder / f"{name}.log").open("ab")


@contextmanager
def site(name: str, folder: Path) -> Iterator[PlainSite]:
    """Make a lighter site with its things in `folder` (a new one); its processes end with it."""
    made = PlainSite(name, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
