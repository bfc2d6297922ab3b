"""Sites as real machines: systemd as PID 1, own D-Bus, own network namespace, own container engine (root on Linux only).

with machines.lab() as lab:
    press, mill = lab.boot("press-01", "mill-02")
    press.run(["systemctl", "is-system-running"])
"""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support import cgroups, launch, leftovers, network, siteroot
from support.waiting import BOOTED_S, until

REPOSITORY = Path(__file__).parents[2]
_PROGRAMS = ("systemd-nspawn", "nsenter", "ip", "mount", "umount", "dockerd", "docker")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


def why_not() -> str:
    """Return why machines cannot be booted here; empty when they can."""
    if sys.platform != "linux":
        return "this is not Linux"
    if os.geteuid() != 0:
        return "you are not root (as root, or with sudo, sites are real machines)"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = leftovers.LABS.with_name(f"{leftovers.LABS.name}-probe-{uuid.uuid4().hex[:8]}")
    try:
        siteroot.mount(probe, "probe", megabytes=8)
    except RuntimeError as error:
        return f"no overlay mounts here ({error})"
    finally:
        siteroot.unmount(probe)
    return ""


class CommandFailed(RuntimeError):
    """A command in a machine ended with another status than 0."""


@dataclass
class Machine:
    """One booted site. Made by `Lab.boot`."""

    name: str
    folder: Path
    hub: str | None
    _nspawn: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    leader: int = 0  # the pid, on this host, of the machine's PID 1

    @property
    def cable(self) -> network.Cable:
        return network.Cable(int(self.folder.name))

    @property
    def address(self) -> str:
        """The machine's own address on its cable."""
        return self.cable.there

    @property
    def host_address(self) -> str:
        """This host's address on the machine's cable."""
        return self.cable.here

    def start(self, *, plugged: bool = True) -> None:
        """Boot from the root as it is now; returns when systemd has finished starting (engine included). Not `plugged`: with
        the cable cut from the beginning."""
        groups = cgroups.create(leftovers.group(self.folder))
        begin = [sys.executable, "-I", "-S", launch.__file__, *map(str, groups), "--"]
        with (self.folder / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*begin, *self._nspawn_arguments()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # ^C at a terminal is for the lab, which then stops the machines
                env=_ENVIRONMENT,
            )
        try:
            self.leader = until(self._find_leader, BOOTED_S, f"{self.name} to start systemd")
            self.cable.connect(self.leader, self.hub)
            if not plugged:
                self.cable.cut()
            until(self._is_up, BOOTED_S, f"{self.name} to finish booting", every=0.05)
        except (TimeoutError, RuntimeError) as error:
            error.add_note((self.folder / "console.log").read_text(errors="replace")[-3000:])
            raise

    def run(
        self, arguments: Sequence[str], *, stdin: bytes | str = b"", check: bool = True, timeout: float = BOOTED_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, to its end. CommandFailed on another status than 0, unless `check` is off."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", "--", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout,
            env=_ENVIRONMENT,
            check=False,
        )
        text = subprocess.CompletedProcess(
            list(arguments), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check and text.returncode:
            said = (text.stderr or text.stdout).strip()[-2000:]
            raise CommandFailed(f"{self.name}: {' '.join(arguments)[:200]}: status {text.returncode}: {said}")
        return text

    def inside(self, path: str) -> Path:
        """Return the way from this host to a path in the machine as it runs now; absolute links there lead astray."""
        return Path(f"/proc/{self.leader}/root{path}")

    def read(self, path: str) -> str:
        return self.run(["cat", "--", path]).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).returncode == 0

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file there, with the folders above it."""
        words = ["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path]
        try:
            self.run(words, stdin=content)
        except CommandFailed as failed:  # an agent may make the file between install's unlink and its open
            if "File exists" not in str(failed):
                raise
            self.run(words, stdin=content)

    def start_unit(self, name: str, unit: str) -> None:
        """Write a systemd unit, enable it (it starts at the next boot too) and start it now."""
        self.write(f"/etc/systemd/system/{name}", unit)
        self.run(["systemctl", "daemon-reload"])
        self.run(["systemctl", "enable", "--now", "--quiet", name])

    def journal(self, unit: str, lines: int = 200) -> str:
        return self.run(["journalctl", "-u", unit, "-n", str(lines), "--no-pager", "-o", "cat"]).stdout

    def cut(self) -> None:
        """Pull the cable: no error reaches either side."""
        self.cable.cut()

    def restore(self) -> None:
        self.cable.restore()

    def reboot(self, *, plugged: bool = True) -> None:
        """Shut down in order and boot again, as `start` does; everything in the file system stays."""
        self.run(["systemctl", "reboot"], check=False)
        self._ended()
        self.start(plugged=plugged)

    def is_down(self) -> bool:
        """Return whether it has ended by itself."""
        return self._nspawn is None or self._nspawn.poll() is not None

    def come_back(self) -> None:
        """Boot again, after it has ended by itself: what the firmware does of a real one."""
        self._ended()
        self.start()

    def cut_power(self) -> None:
        """End every process of the machine at once; `start` boots it again."""
        cgroups.clear(leftovers.group(self.folder))
        self._ended()

    def stop(self) -> None:
        """End the machine and remove everything it had."""
        if self.folder.exists():
            leftovers.clear_machine(self.folder)
        self.reap()

    def reap(self) -> None:
        """Wait for the end of a machine that is ending."""
        if self._nspawn:
            self._nspawn.wait(BOOTED_S)
        self._nspawn, self.leader = None, 0

    def _ended(self) -> None:
        self.reap()
        network.remove(self.cable.link)  # goes by itself, but a little later than the next boot wants the name

    def _nspawn_arguments(self) -> list[str]:
        shown = [f"--bind-ro={path}" for path in siteroot.unseen(REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))]
        return [
            *("systemd-nspawn", "--quiet", f"--directory={self.folder / 'root'}", "--boot"),
            *(f"--machine={self.cable.link.removeprefix('ve-')}", f"--hostname={self.name}", "--network-veth"),
            *("--register=no", "--keep-unit", "--capability=all", "--system-call-filter=@keyring bpf"),
            "--drop-capability=CAP_SYS_TIME",  # there is one clock, this host's
            *("--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            *(f"--bind={self.folder / name}:{path}" for name, path in siteroot.BOUND.items()),
            *shown,
            "systemd.unit=multi-user.target",
        ]

    def _find_leader(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"{self.name}: systemd-nspawn ended with status {self._nspawn.returncode}")
        pid = self._nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                if Path(f"/proc/{child}/exe").resolve().name == "systemd":
                    return int(child)
            except FileNotFoundError:  # a child that prepares and ends
                continue
        return 0

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"{self.name}: systemd-nspawn ended with status {self._nspawn.returncode}")
        state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return state in ("running", "degraded")


class Lab:
    """Machines side by side, each on its own cable. Made by `lab`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machines: list[Machine] = []
        self._hub: str | None = None

    def hub_address(self) -> str:
        """Return one address of this host that every machine booted from now on can reach, and nothing outside."""
        if self._hub is None:
            number = leftovers.reserve(self.folder, "hub-").name.rpartition("-")[2]
            self._hub = network.add_hub(int(number))
        return self._hub

    def boot(self, *names: str) -> list[Machine]:
        """Boot one machine per name, all at once."""
        machines = [Machine(name, leftovers.reserve(self.folder), self._hub) for name in names]
        self.machines += machines
        with ThreadPoolExecutor(len(machines)) as threads:
            return list(threads.map(_boot, machines))


def _boot(machine: Machine) -> Machine:
    siteroot.mount(machine.folder, machine.name)
    machine.start()
    return machine


@contextmanager
def lab() -> Iterator[Lab]:
    """Make a lab. At its end nothing of it is left, nor after the death of this process."""
    leftovers.clear_dead_labs()
    made = Lab(leftovers.LABS / uuid.uuid4().hex[:8])
    try:
        with leftovers.kept(made.folder):
            yield made
    finally:
        for machine in made.machines:
            machine.reap()
