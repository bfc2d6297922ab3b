"""A root file system of busybox, a real sh and stand-ins that write down what they were called with: for scripts of ours."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from support.waiting import HANGS_S

_APPLETS = (
    "cat chgrp chmod chown cmp cp dirname env expr grep id ls mkdir mktemp mv printf readlink rm rmdir sleep stat tr"
)
# What an engine, systemd and nft would be asked. Nothing is there yet, and everything works.
_STUB = """\
#!/bin/sh
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\0\\0'; } >>/log
case ${0##*/}:$1 in
  docker:container) exit 1 ;;
  docker:create) printf '%s\\0' "${SECRET-}" >>/environment ;;
  systemctl:is-enabled | systemctl:is-active) exit 1 ;;
esac
"""


class StubMachine:
    """Made at `root`; root on Linux only, for chroot."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def made(cls, folder: Path) -> "StubMachine":
        """Make one in a new folder."""
        machine = cls(folder)
        for name in ("bin", "etc", "srv", "var/lib", "tmp", "dev"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        busybox = shutil.which("busybox")
        assert busybox is not None, "busybox is not installed (Debian: busybox-static)"
        shutil.copy(busybox, folder / "bin/busybox")
        for applet in _APPLETS.split():
            (folder / "bin" / applet).symlink_to("busybox")
        for program in ("docker", "systemctl", "nft"):
            (folder / "bin" / program).write_text(_STUB)
            (folder / "bin" / program).chmod(0o755)
        machine._copy(Path("/bin/sh").resolve(), "bin/sh")
        machine._copy(Path("/usr/bin/flock"), "bin/flock")
        (folder / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (folder / "etc/group").write_text("root:x:0:\n")
        (folder / "dev/null").touch()
        return machine

    def copy(self, folder: Path) -> "StubMachine":
        """Return another one, as this one is now."""
        shutil.copytree(self.root, folder, symlinks=True)
        return StubMachine(folder)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the machine's own."""
        return subprocess.run(
            ["chroot", str(self.root), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HANGS_S,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def files(self) -> set[str]:
        """Return everything a script could have left: paths below the root, but for what stands in and writes down."""
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return {
            path
            for path in found
            if not path.startswith(("bin/", "plan/", "lib")) and path not in ("log", "environment")
        }

    def calls(self, program: str) -> list[list[str]]:
        """Return the words of each call of a stand-in, in order."""
        log = (self.root / "log").read_text() if (self.root / "log").exists() else ""
        calls = [each.split("\0") for each in log.split("\0\0\0") if each]
        return [call[1:] for call in calls if call[0] == program]

    def _copy(self, program: Path, to: str) -> None:
        shutil.copy(program, self.root / to)
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(", listed):
            target = self.root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), target)
