"""The folders of claims: CLAIMS/NAMESPACE/NAME/data holds the data, deed.json beside it says whose it is.

What is here outlives the Pods and the claim itself: only a claim that says so takes its data along. Blocking.
"""

import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.providers.disk.replace import replace_file, temporary_name
from holdfast_protocol.wire.names import ResourceKey

DEED: Final = "deed.json"
FRESH: Final = "data.new"
MODE: Final = 0o777  # whatever user a container runs as; the folders above are the agent's own


class Deed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has the folder, and the bytes asked for. `released`: its claim is gone, the data is kept for the next one."""

    owner: ResourceKey
    size: int = 0
    released: bool = False


def make(folder: Path, deed: Deed) -> None:
    """Make a claim's folder, or take it up with what is in it. Raises OSError."""
    for private in (folder.parent.parent, folder.parent, folder):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    if read(folder) != deed:
        _write(folder, deed)
    data = folder / "data"
    if not data.is_dir():
        fresh = folder / FRESH
        fresh.mkdir(exist_ok=True)
        fresh.chmod(MODE)
        fresh.rename(data)  # once it is there, its mode is its containers' own


def read(folder: Path) -> Deed | None:
    """Return a folder's deed; None when there is none, or one that cannot be read."""
    try:
        return msgspec.json.decode((folder / DEED).read_bytes(), type=Deed)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def release(folder: Path) -> None:
    """Keep the data for whoever claims it next."""
    deed = read(folder)
    if deed is not None:
        _write(folder, msgspec.structs.replace(deed, released=True))


def delete(folder: Path) -> None:
    """Take a claim's data away: the deed last, so that a kill in between leaves nothing unknown."""
    if read(folder) is None:
        return
    if (folder / "data").exists():
        shutil.rmtree(folder / "data")
    for left in (folder / FRESH, folder / temporary_name(DEED)):  # by a kill; nothing is in them
        if left.is_dir():
            left.rmdir()
        else:
            left.unlink(missing_ok=True)
    (folder / DEED).unlink(missing_ok=True)
    folder.rmdir()


def _write(folder: Path, deed: Deed) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace_file(fd, DEED, msgspec.json.encode(deed), mode=0o600)
    finally:
        os.close(fd)
