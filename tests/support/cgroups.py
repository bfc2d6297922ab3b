"""One control group per machine, in every hierarchy this host has (version 1, hybrid or 2).

Without it machines side by side share nspawn's one "payload" group: limits and counts of their units mix, and when something
has to be killed nothing tells whose process is whose.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from support.waiting import HANGS_S, until


def folders(name: str) -> list[Path]:
    """Return where the group `name` stands in each hierarchy, whether it exists or not."""
    return [parent / name for parent in _parents()]


def create(name: str) -> list[Path]:
    """Make the group in every hierarchy and return its folders."""
    made = folders(name)
    for folder in made:
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts them empty and then lets no process in
            if (folder / setting).exists() and (folder.parent / "cgroup.clone_children").exists():
                (folder / setting).write_text((folder.parent / setting).read_text())
    return made


def processes(name: str) -> set[int]:
    """Return the pids now in the group or below it."""
    return _listed(folders(name))


def clear(name: str, within: float = HANGS_S) -> None:
    """Kill everything in the group and remove it; nothing to do when there is none.

    nspawn itself, which stands in the group `supervisor`, ends after its machine and tidies up; killed only if it does not.
    """
    supervisors = _listed(folder / "supervisor" for folder in folders(name))
    until(lambda: not _killed(processes(name) - supervisors), within, f"the processes of {name} to end")
    with suppress(TimeoutError):
        until(lambda: not processes(name), 3, f"the supervisor of {name} to end")
    until(lambda: not _killed(processes(name)), within, f"the processes of {name} to end")
    for folder in folders(name):
        until(lambda folder=folder: _removed(folder), within, f"{folder} to be removed")  # type: ignore[misc]


def _listed(groups: Iterable[Path]) -> set[int]:
    listings = (listing for folder in groups for listing in folder.rglob("cgroup.procs"))
    pids = {int(pid) for listing in listings for pid in _text(listing).split()}
    return pids - {0}  # a process outside of our pid namespace


def _killed(pids: set[int]) -> set[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def _removed(folder: Path) -> bool:
    for below, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # still busy: an ended process leaves its group a moment later
            os.rmdir(below)
    return not folder.exists()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the group went away between listing and reading
        return ""


def _parents() -> list[Path]:
    """Return the folder of each hierarchy under which a group of ours may be made.

    Version 1: below our own group. Version 2: at the top, because a group with processes cannot hand controllers down.
    """
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        fields, (kind, _, options) = before.split(), after.split()[:3]
        if kind == "cgroup2":
            found.append(Path(fields[4]))
        elif kind == "cgroup":
            words = set(options.split(","))
            path = next((path for names, path in own.items() if names and set(names.split(",")) <= words), "/")
            inner = os.path.relpath(path, fields[3])
            found.append(Path(fields[4]) if inner.startswith("..") else Path(fields[4]) / inner)
    return list(dict.fromkeys(found))
