"""A real `systemd --user` with a bus of its own, on any machine where we are root: booted with systemd or not.

It gets its own control group, process and mount namespace, so it sees nothing of the machine's services, nothing it starts
outlives it, and killing its first process ends all.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast_edge.providers.systemd.home import Home, find_home
from support import cgroups, launch, user_systemd_inside
from support.waiting import HANGS_S, until

READY = {b"running", b"degraded"}
# systemd goes on a bus only when these two units, under these names, say that there is one.
_BUS = {
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%t/bus\n",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\n"
    "ExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation\n",
}


class UserSystemd:
    """Started by `running`. `home` is what a provider needs; `kill_bus` and `start_bus` are the fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
        }
        self.home: Home = find_home("user", self.environ)
        self._group = f"holdfast-user-systemd-{os.getpid()}-{id(self):x}"
        self._outer: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for name in ("home", "run", "data"):
            (self.folder / name).mkdir(mode=0o700)
        self.home.units.mkdir(parents=True)
        for name, text in _BUS.items():
            (self.home.units / name).write_text(text)
        groups = [str(folder) for folder in cgroups.create(self._group)]
        inside = [sys.executable, user_systemd_inside.__file__, str(os.getpid())]
        self._outer = subprocess.Popen(
            [sys.executable, launch.__file__, *groups, "--", *inside],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self.systemctl("is-system-running").stdout.strip() in READY, HANGS_S, "systemd --user to be up")
        self.start_bus()

    def stop(self) -> None:
        if self._outer is not None:
            self._outer.kill()
            self._outer.wait()
        cgroups.clear(self._group)

    def is_on_the_bus(self) -> bool:
        """Whether others than systemctl, which has a way of its own, reach it."""
        asked = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Version")
        return self._inside("busctl", "--user", "--auto-start=no", "get-property", *asked).returncode == 0

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """What a person would type; the exit status is the caller's to judge."""
        return self._inside("systemctl", "--user", *arguments)

    def _inside(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command where systemd runs: elsewhere its tools say the machine was not booted with it."""
        assert self._outer is not None
        first = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not first:
            return subprocess.CompletedProcess(command, 1, b"", b"not there yet")
        return subprocess.run(
            ["nsenter", "--target", first[0], "--mount", "--pid", "--", *command],
            env=self.environ,
            capture_output=True,
            check=False,
            timeout=HANGS_S,
        )

    def start_bus(self) -> None:
        self.systemctl("start", *_BUS)
        until(self.is_on_the_bus, HANGS_S, "systemd to be on the bus")

    def kill_bus(self) -> None:
        self.systemctl("kill", "--signal=KILL", "dbus.service")
        self.systemctl("stop", *_BUS)


@contextmanager
def running(folder: Path) -> Iterator[UserSystemd]:
    """Run a systemd whose files are in the (empty) folder; gone with everything it started afterwards."""
    systemd = UserSystemd(folder)
    try:
        systemd.start()
        yield systemd
    finally:
        systemd.stop()
