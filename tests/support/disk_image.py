"""A disk as a file: an ext4 file system on a loop device, and copies of it as a power cut would leave it. As root on Linux.

`noauto_da_alloc`: the file system does nothing for programs that forget to sync before a rename.
"""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.waiting import HANGS_S

_OPTIONS: Final = "loop,noauto_da_alloc,commit=1"
_NEW_MOUNTS: Final = 0x0002_0000
_WRITTEN: Final = slice(4, 9)  # of /sys/block/DEVICE/stat: writes done, merged, sectors, their time, those under way


class Disk:
    """Made by `mounted`. `place` is where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "disk"
        self._image, self._copy = folder / "disk.img", folder / "copy.img"
        self._device = ""

    def mount(self, megabytes: int) -> None:
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        _run("mount", "-o", _OPTIONS, str(self._image), str(self.place))
        number = os.stat(self.place).st_dev
        self._device = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat"

    def unmount(self) -> None:
        _run("umount", str(self.place))

    def copy(self) -> None:
        """Copy the disk as it is at one moment: again, until nothing was written to it meanwhile."""
        while True:
            before = self._written()
            shutil.copyfile(self._image, self._copy)
            if self._written() == before and before[-1] == "0":
                return
            time.sleep(0.001)

    def show_copy(self) -> None:
        """From now on, for this process and its children only: the copy in the disk's place, as after a boot."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_MOUNTS) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _run("mount", "--make-rprivate", "/")
        _run("mount", "-o", _OPTIONS, str(self._copy), str(self.place))

    def _written(self) -> list[str]:
        return Path(self._device).read_text().split()[_WRITTEN]


@contextmanager
def mounted(folder: Path, megabytes: int = 32) -> Iterator[Disk]:
    disk = Disk(folder)
    disk.mount(megabytes)
    try:
        yield disk
    finally:
        disk.unmount()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGS_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
