"""Nothing of a lab outlives it: whoever ends first, everything the lab made is taken down by what its folder records.

A lab's folder is locked while the lab lives and holds one empty folder per number in use: `7` is machine 7, `hub-8` the hub's
link 8. With the lab's name that gives control groups, links and mounts. The keeper, a process of its own, waits for the lab's
end on its standard input (it ends by a kill -9 too) and then takes the lab down.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support import cgroups, network, siteroot

LABS = Path("/run/holdfast-lab")
NUMBERS = range(1, 255)  # the third byte of an address


def group(machine: Path) -> str:
    """Return the name of the control group of the machine with this folder."""
    return f"holdfast-{machine.parent.name}-{machine.name}"


def reserve(lab: Path, prefix: str = "") -> Path:
    """Make and return the folder `lab/<prefix><number>` of a number no living lab uses."""
    with _registry():
        taken = {int(entry.name.rpartition("-")[2]) for entry in LABS.glob("*/*")}
        for number in NUMBERS:
            if number not in taken:
                folder = lab / f"{prefix}{number}"
                folder.mkdir(parents=True)
                return folder
    raise RuntimeError("no number left for another machine")


def clear_machine(machine: Path) -> None:
    """Take one machine down: processes, link, mounts, folder. May be repeated."""
    cgroups.clear(group(machine))
    network.Cable(int(machine.name)).disconnect()
    siteroot.unmount(machine)


def clear_dead_labs() -> None:
    """Take down every lab whose owner is gone (and whose keeper was killed too)."""
    dead = []
    with _registry():  # no lab is just being made
        for lab in LABS.iterdir():
            with suppress(BlockingIOError):
                dead.append((lab, _hold(lab, wait=False)))
    for lab, handle in dead:
        _clear_lab(lab, handle)


@contextmanager
def kept(lab: Path) -> Iterator[Path]:
    """Make the folder of a lab of this process; what the lab has made is taken down when it ends, however it ends."""
    with _registry():
        lab.mkdir()
        handle = _hold(lab)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "support.leftovers", str(lab)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # ^C at a terminal is for the lab
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        yield lab
    finally:
        os.close(handle)
        said, _ = keeper.communicate()  # closes its standard input, and waits until all is down
        if keeper.returncode:
            raise RuntimeError(f"the lab could not be taken down:\n{said}")


def _clear_lab(lab: Path, handle: int) -> None:
    try:
        for entry in sorted(lab.iterdir()) if lab.is_dir() else []:
            kind, _, number = entry.name.rpartition("-")
            if kind == "hub":
                network.remove(network.hub_link(int(number)))
                entry.rmdir()
            else:
                clear_machine(entry)
        with _registry(), suppress(FileNotFoundError):
            lab.rmdir()
    finally:
        os.close(handle)


def _hold(folder: Path, *, wait: bool = True) -> int:
    """Lock a folder until the returned handle is closed. BlockingIOError when it is held and `wait` is off."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def _registry() -> Iterator[None]:
    """Hold the folder of all labs, making it first and removing it afterwards when it is empty."""
    while True:
        LABS.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            handle = _hold(LABS)
            if LABS.exists() and LABS.stat().st_ino == os.fstat(handle).st_ino:
                break
            os.close(handle)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty: other labs
            LABS.rmdir()
        os.close(handle)


def main() -> None:
    """Be the keeper of the lab whose folder is the one argument."""
    lab = Path(sys.argv[1])
    sys.stdin.read()
    with suppress(FileNotFoundError):  # somebody else saw a dead lab and took it down
        _clear_lab(lab, _hold(lab))


if __name__ == "__main__":
    main()
