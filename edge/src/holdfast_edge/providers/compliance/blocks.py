"""What storage lies on, as the kernel tells it: mountinfo, swaps and /sys/class/block. Blocking, but memory only.

Encrypted is what the device mapper encrypts (dm-crypt), wherever on the way down it does: a volume on LUKS, LUKS on a
RAID, a partition of either, a file in an encrypted mount behind a loop device. Integrity and verity devices are not.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

MAX_TEXT: Final = 1024 * 1024  # bytes of one file of the kernel
MAX_DEPTH: Final = 16  # devices on top of each other
_CIPHER: Final = re.compile(r"CRYPT-(LUKS1|LUKS2|PLAIN|TCRYPT|BITLK|FVAULT2|LOOPAES)-")
_BLANK: Final = re.compile(r"[ \t]+")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_IN_MEMORY: Final = ("tmpfs", "ramfs")


class Mount(msgspec.Struct, frozen=True):
    place: str
    device: str  # major:minor
    kind: str  # of file system
    source: str


class Storage(msgspec.Struct, frozen=True):
    """What something lies on. `ciphers`: luks2 and such, for every way down; "" for a way that meets none."""

    ciphers: tuple[str, ...] = ()
    trouble: str = ""  # why it cannot be told, "" when it can

    @property
    def encrypted(self) -> bool:
        return bool(self.ciphers) and all(self.ciphers) and not self.trouble


class Blocks:
    """`root` stands for / of the machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._sys = root / "sys/class/block"

    def mounts(self) -> list[Mount]:
        """Return what is mounted, in the kernel's order: of two at one place the later is seen."""
        found = []
        # Not splitlines, not bare split: who mounts chooses a name, and the kernel escapes what divides its own fields alone.
        for line in _text(self._root / "proc/self/mountinfo").split("\n"):
            left, _, right = line.partition(" - ")
            first, second = left.split(" "), right.split(" ")
            if len(first) >= 5 and len(second) >= 2:
                found.append(Mount(_plain(first[4]), first[2], second[0], _plain(second[1])))
        return found

    def of_mount(self, place: str, mounts: list[Mount], depth: int = 0) -> Storage:
        """Return what the mount at exactly `place` lies on."""
        there = [each for each in mounts if each.place == place]
        if not there:
            return Storage(trouble="nothing is mounted there")
        mount = there[-1]
        if mount.kind in _IN_MEMORY:
            return Storage(trouble=f"is in memory ({mount.kind})")
        name = self._by_number(mount.device) or self._by_path(mount.source)
        if not name:
            return Storage(trouble=f"{mount.kind} does not lie on a block device that can be followed")
        return self._under(name, mounts, depth)

    def of_device(self, path: str, mounts: list[Mount]) -> Storage:
        """Return what a device under /dev is or lies on."""
        name = self._by_path(path)
        return self._under(name, mounts, 0) if name else Storage(trouble="there is no such device")

    def swaps(self) -> list[str]:
        """Return the devices and files that are swapped to; compressed memory is none."""
        lines = _text(self._root / "proc/swaps").split("\n")[1:]
        paths = [_plain(_BLANK.split(line)[0]) for line in lines if line]
        return [path for path in paths if not path.startswith("/dev/zram")]

    def of_swap(self, path: str, mounts: list[Mount]) -> Storage:
        """Return what a swap device, or the mount a swap file is in, lies on."""
        return self.of_device(path, mounts) if path.startswith("/dev/") else self._of_file(path, mounts, 0)

    def _of_file(self, path: str, mounts: list[Mount], depth: int) -> Storage:
        above = [each.place for each in mounts if each.place == "/" or f"{path}/".startswith(f"{each.place}/")]
        return self.of_mount(max(above, key=len), mounts, depth) if above else Storage(trouble=f"{path} is in no mount")

    def _under(self, name: str, mounts: list[Mount], depth: int) -> Storage:
        if depth > MAX_DEPTH:
            return Storage(trouble=f"more than {MAX_DEPTH} devices on top of each other")
        folder = self._sys / name
        cipher = _CIPHER.match(_text(folder / "dm/uuid"))
        if cipher is not None:
            return Storage((cipher[1].lower(),))
        if backing := _text(folder / "loop/backing_file").strip():
            return self._of_file(backing, mounts, depth + 1)
        below = sorted(_names(folder / "slaves"))
        if not below and (folder / "partition").exists():
            below = [Path(os.path.realpath(folder)).parent.name]
        if not below:
            return Storage(("",))
        found = [self._under(each, mounts, depth + 1) for each in below]
        return Storage(
            tuple(sorted({cipher for each in found for cipher in each.ciphers})),
            next((each.trouble for each in found if each.trouble), ""),
        )

    def _by_number(self, number: str) -> str:
        """Return the device of this major:minor, "" for the anonymous ones of overlay, btrfs and such."""
        if number.startswith("0:"):
            return ""
        return next(
            (each for each in sorted(_names(self._sys)) if _text(self._sys / each / "dev").strip() == number), ""
        )

    def _by_path(self, path: str) -> str:
        """Return the kernel's name of a device under /dev, "" when there is none."""
        if not path.startswith("/dev/"):
            return ""
        base = os.path.basename(os.path.realpath(self._root / path.lstrip("/")))
        if (self._sys / base).exists():
            return base
        mapped = os.path.basename(path)
        names = sorted(each for each in _names(self._sys) if each.startswith("dm-"))
        return next((each for each in names if _text(self._sys / each / "dm/name").strip() == mapped), "")


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from os.listdir(folder)
    except OSError:
        return


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT).decode(errors="replace")
    except OSError:
        return ""


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
