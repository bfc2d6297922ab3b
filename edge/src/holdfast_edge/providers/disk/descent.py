"""The way down to a file: by folder descriptors, one component at a time, never through a link.

A check of the text alone loses to anyone who swaps a folder for a link a moment later. So every component is opened
relative to the one above with O_NOFOLLOW, and judged by what was opened. openat2's RESOLVE_BENEATH would do the walk in
one call but not the judging of each folder (owner, mode, denied inode); with ".." refused both give the same guarantee.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds.paths import path_parts

_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # passing through needs no right to list
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_TO_GROUP: Final = stat.S_IWGRP
_OPEN_TO_ALL: Final = stat.S_IWOTH


class Place(msgspec.Struct, frozen=True):
    """A path that was found to lie inside an allowed root: the root and the components below it."""

    path: str
    root: str
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.parts[-1]


class Roots:
    """Where files may be written, and what inside is never ours: `denied` files and folders with all below them.

    Roots may contain links (the administrator chose them); nothing below a root may.
    """

    def __init__(self, roots: Sequence[Path], denied: Sequence[Path] = ()) -> None:
        self._roots = sorted({(str(root), os.path.realpath(root)) for root in roots}, key=lambda each: -len(each[0]))
        both = [(os.path.abspath(path), os.path.realpath(path)) for path in denied]  # a link to us is ours as well
        self._denied = tuple(dict.fromkeys(form for forms in both for form in forms))

    def place(self, path: str) -> Place:
        """Return where `path` is, or raise PermanentError: BadPath, OutsideRoots, AgentPath. Looks at no file."""
        parts = _parts(path)
        for root, real in self._roots:
            above = tuple(part for part in root.split("/") if part)
            if len(parts) > len(above) and parts[: len(above)] == above:
                below = parts[len(above) :]
                for form in (path, "/".join(("" if real == "/" else real, *below))):
                    self._refuse_denied(form, path)
                return Place(path=path, root=real, parts=below)
        raise PermanentError(
            f"{path} is outside the folders files may be written in",
            reason="OutsideRoots",
            hint="allowed here: " + (", ".join(root for root, _ in self._roots) or "none"),
        )

    def _refuse_denied(self, form: str, path: str) -> None:  # [inv: agent-is-never-its-own-casualty]
        for denied in self._denied:
            if form == denied or form.startswith(denied + "/") or denied.startswith(form + "/"):
                raise _agent_path(path)

    @contextmanager
    def parent(self, place: Place, *, make: bool = False) -> Iterator[int]:
        """Open the folder of `place`; missing ones are made (mode 0755) when `make`, else FileNotFoundError."""
        with self._walk(place, make=make) as (fd, missing):
            if missing:
                raise FileNotFoundError(f"{place.path}: no folder for it")
            with suppress(FileNotFoundError):
                seen = os.stat(place.name, dir_fd=fd, follow_symlinks=False)
                if (seen.st_dev, seen.st_ino) in self._denied_inodes():
                    raise _agent_path(place.path)
            with _readable(fd) as folder:
                yield folder

    def missing(self, place: Place) -> tuple[str, ...]:
        """Return the folders on the way to `place` that are not there, outermost first."""
        with self._walk(place, make=False) as (_, missing):
            return missing

    def folders(self, place: Place) -> Iterator[tuple[str, str]]:
        """Yield each folder from the root to the parent with the name in it that leads to `place`."""
        folder = place.root
        for part in place.parts:
            yield folder, part
            folder = os.path.join(folder, part)

    @contextmanager
    def _walk(self, place: Place, *, make: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
        denied = self._denied_inodes()
        folder = place.root
        try:
            fd = os.open(place.root, _STEP)
        except OSError as error:
            raise failures.provider_error(error, place.root) from error
        missing: tuple[str, ...] = ()
        try:
            _judge(fd, folder, denied)
            for index, part in enumerate(place.parts[:-1]):
                below = os.path.join(folder, part)
                try:
                    deeper = _open(fd, part, make=make)
                except FileNotFoundError:
                    missing = tuple(
                        os.path.join(folder, *place.parts[index:end]) for end in range(index + 1, len(place.parts))
                    )
                    break
                except OSError as error:
                    raise failures.provider_error(error, below) from error
                os.close(fd)
                fd, folder = deeper, below
                _judge(fd, folder, denied)
            yield fd, missing
        finally:
            os.close(fd)

    def _denied_inodes(self) -> frozenset[tuple[int, int]]:
        """Return what denied folders are on the disk: a bind mount shows them under another path."""
        found = set()
        for path in self._denied:
            try:
                seen = os.stat(path)
            except OSError:
                continue
            found.add((seen.st_dev, seen.st_ino))
        return frozenset(found)


def _agent_path(path: str) -> PermanentError:
    return PermanentError(f"{path} belongs to the agent itself", reason="AgentPath")


def _parts(path: str) -> tuple[str, ...]:
    try:
        return path_parts(path, "spec.path")
    except WireError as error:
        raise failures.refusal(error) from None


@contextmanager
def _readable(fd: int) -> Iterator[int]:
    """Open the folder again so that it can be synced."""
    folder = os.open(".", _FOLDER, dir_fd=fd)
    try:
        yield folder
    finally:
        os.close(folder)


def _open(fd: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _STEP, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    except FileExistsError:
        return os.open(name, _STEP, dir_fd=fd)
    made = os.open(name, _STEP, dir_fd=fd)
    try:
        with _readable(made) as folder:
            os.fchmod(folder, 0o755)  # mkdir obeys the umask
        with _readable(fd) as parent:
            os.fsync(parent)
    except OSError:
        os.close(made)
        raise
    return made


def _judge(fd: int, folder: str, denied: frozenset[tuple[int, int]]) -> None:
    """Refuse a folder in which somebody else could put their own in place of ours.

    Writable by all, or by a group while not root's: only with the sticky bit, and then only root's or our own, for the
    owner of a sticky folder may rename everything in it. A group-writable folder of root's is root's decision.
    """
    seen = os.fstat(fd)
    if (seen.st_dev, seen.st_ino) in denied:  # [inv: agent-is-never-its-own-casualty]
        raise _agent_path(folder)
    trusted = seen.st_uid in {0, os.geteuid()}
    exposed = seen.st_mode & _OPEN_TO_ALL or (seen.st_mode & _OPEN_TO_GROUP and seen.st_uid != 0)
    if exposed and not (seen.st_mode & stat.S_ISVTX and trusted):
        raise PermanentError(
            f"others may write in {folder} (mode {stat.S_IMODE(seen.st_mode):04o}, owner {seen.st_uid})",
            reason="UnsafeFolder",
            hint=f"chmod go-w {folder}",
        )
