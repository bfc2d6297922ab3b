"""The root file system of a machine: this host's own, under an overlay on a tmpfs, with only the site's services left.

A folder holds all of one machine: `upper`, `work` and `root` of the overlay, and what must not be an overlay (`engine`, …).
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.waiting import HANGS_S

# Bound over these paths: the engine's layers cannot stand on an overlay, the rest is the host's and not the site's.
BOUND = {"engine": "/var/lib/docker", "containerd": "/var/lib/containerd", "journal": "/var/log/journal"}
_MASKED = ("console-getty.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount")
_EMPTY = ("etc/fstab", "etc/crypttab")
_ABSENT = ("etc/holdfast", "var/lib/holdfast")  # this host may be a site itself
_UNITS = ("etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system")
# On control groups version 1 nspawn leaves the controllers read-only, and an engine needs to write them.
_WRITABLE_CGROUPS = """\
#!/bin/sh
set -eu
[ -e /sys/fs/cgroup/cgroup.controllers ] && exit 0
mount -o remount,rw,bind /sys/fs/cgroup
for controller in /sys/fs/cgroup/*; do
  mountpoint -q "$controller" && mount -o remount,rw,bind "$controller"
done
exit 0
"""
_ENGINE = """\
[Service]
Environment=HTTP_PROXY= HTTPS_PROXY=
ExecStartPre=/usr/local/libexec/writable-cgroups
"""


def mount(folder: Path, hostname: str, megabytes: int = 2048) -> Path:
    """Mount a new root in `folder`, prepare it and return its path."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "holdfast-lab", str(folder))
    for name in ("upper", "work", "root", *BOUND):
        (folder / name).mkdir()
    layers = f"lowerdir=/,upperdir={folder / 'upper'},workdir={folder / 'work'}"
    root = folder / "root"
    _run("mount", "-t", "overlay", "holdfast-lab", "-o", layers, str(root))
    _prepare(root, hostname, machine_id=hashlib.sha256(str(folder).encode()).hexdigest()[:32])
    return root


def unmount(folder: Path) -> None:
    """Undo `mount`, however far it came; nothing to do when nothing is there."""
    for place in sorted(_mounted_below(folder), reverse=True):  # the deepest first
        _run("umount", place)
    if folder.exists():
        folder.rmdir()  # empty by now, or something is wrong


def unseen(*paths: Path) -> list[Path]:
    """Return which of these paths the overlay of `/` does not show: other file systems, and places nspawn covers."""
    top = os.stat("/").st_dev
    covered = (Path("/tmp"), Path("/run"), Path("/dev"))
    return [path for path in paths if path.stat().st_dev != top or any(path.is_relative_to(place) for place in covered)]


def _prepare(root: Path, hostname: str, machine_id: str) -> None:
    units = root / "etc/systemd/system"
    for link in _start_links(root, units):
        link.unlink()
    for unit in _MASKED:
        _link(units / unit, "/dev/null")
    for path in _EMPTY:
        _write(root / path, "")
    for path in _ABSENT:
        shutil.rmtree(root / path, ignore_errors=True)
    _write(root / "etc/machine-id", machine_id + "\n")
    _write(root / "etc/hostname", hostname + "\n")
    _write(root / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n")
    _write(root / "etc/docker/daemon.json", "{}\n")  # not the host's mirrors and folders
    shutil.rmtree(units / "docker.service.d", ignore_errors=True)
    _write(root / "usr/local/libexec/writable-cgroups", _WRITABLE_CGROUPS, mode=0o755)
    _write(units / "docker.service.d/holdfast-lab.conf", _ENGINE)
    for folder in _UNITS:
        if (root / folder / "docker.service").exists():
            _link(units / "multi-user.target.wants/docker.service", f"/{folder}/docker.service")
            return
    raise RuntimeError("this host has an engine but no docker.service")


def _start_links(root: Path, units: Path) -> Iterator[Path]:
    """Yield every link by which the host's administrator made something start at boot."""
    for pattern in ("*.wants/*", "*.requires/*", "*.upholds/*"):
        yield from list(units.glob(pattern))
    yield from list((root / "etc").glob("rc?.d/S*"))


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link, and would be followed out of this root
    path.write_text(text)
    path.chmod(mode)


def _mounted_below(folder: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if Path(place).is_relative_to(folder)]


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=HANGS_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
