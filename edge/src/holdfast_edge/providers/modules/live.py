"""The kernel's modules as they are now, and modprobe. Blocking: call from a thread."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Literal

from holdfast_protocol.errors import PermanentError, TransientError, UnsupportedError

Standing = Literal["loaded", "built-in", "absent"]
_WITHIN: Final = 60.0  # seconds for a module to initialise
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class Live:
    """`root` stands for / of the machine; `path`: where modprobe and rmmod are looked for."""

    def __init__(self, root: Path = Path("/"), path: str = _PATH) -> None:
        self._root = root
        self._path = path
        self._built_in: frozenset[str] | None = None

    def standing(self, module: str) -> Standing:
        """Return how a module stands; a built-in one is there as much as a loaded one."""
        folder = self._root / "sys/module" / module
        if folder.is_dir():
            return "loaded" if (folder / "initstate").exists() else "built-in"
        return "built-in" if module in self._built_ins() else "absent"

    def parameter(self, module: str, name: str) -> str | None:
        """Return a parameter as the kernel shows it, None when it does not."""
        try:
            return (self._root / "sys/module" / module / "parameters" / name).read_text(errors="replace").strip()
        except OSError:
            return None

    def load(self, module: str) -> None:
        """Load a module with what it needs; loaded already is success. UnsupportedError: NoModprobe, NoModules."""
        done = self._run("modprobe", module)
        if done.returncode == 0 and self.standing(module) != "absent":
            return
        said = done.stderr.strip()[:300] or f"modprobe ended with status {done.returncode}, and {module} is not there"
        if not (self._root / "proc/modules").exists():
            raise UnsupportedError(
                f"{module} is not built into this kernel, which loads no modules", reason="NoModules"
            )
        if "not found" in said:
            raise PermanentError(said, reason="UnknownModule", hint="no such module for the running kernel")
        if "not permitted" in said:
            raise UnsupportedError(said, reason="NotPermitted", hint="the agent may load no modules here")
        raise PermanentError(said, reason="NotLoaded", hint="the kernel's log says more: dmesg")

    def unload(self, module: str) -> None:
        """Unload a module alone, what it needed stays; one that is in use stays, and so does one that cannot go."""
        if self.standing(module) == "loaded" and shutil.which("rmmod", path=self._path):
            self._run("rmmod", module)

    def _run(self, program: str, module: str) -> subprocess.CompletedProcess[str]:
        found = shutil.which(program, path=self._path)
        if found is None:
            raise UnsupportedError(
                f"{module} is not in this kernel, and there is no {program} to load it",
                reason="NoModprobe",
                hint="install kmod",
            )
        try:
            return subprocess.run(
                [found, "--", module],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_WITHIN,
                check=False,
                stdin=subprocess.DEVNULL,
                env={"PATH": _PATH, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            raise TransientError(f"{program} {module}: no end within {_WITHIN:g} s", reason="Deadline") from None
        except OSError as error:
            raise UnsupportedError(f"{program}: {error.strerror}", reason="NoModprobe") from None

    def _built_ins(self) -> frozenset[str]:
        if self._built_in is None:
            listed = self._root / "lib/modules" / os.uname().release / "modules.builtin"
            try:
                lines = listed.read_text(errors="replace").split()
            except OSError:
                lines = []
            names = (Path(line).name.removesuffix(".ko").replace("-", "_") for line in lines)
            self._built_in = frozenset(names)
        return self._built_in
