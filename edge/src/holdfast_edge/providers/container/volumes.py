"""A Pod's folder on disk: files of ConfigMaps and Secrets, and empty folders. It lives and dies with its Pod.

The parents are the agent's own (0700); what is below is for the containers. Blocking: call from a thread.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast_edge.providers.container import claims
from holdfast_edge.providers.disk.failures import provider_error
from holdfast_edge.providers.disk.replace import replace_file
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds.pods.admission import Rules, is_within
from holdfast_protocol.kinds.pods.specification import PodPlan
from holdfast_protocol.kinds.pods.translation import File

_KINDS: Final = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


def check_host_paths(pod: PodPlan, rules: Rules) -> None:
    """See that what a Pod mounts of the host is there and allowed, links followed. Raises ProviderError."""
    for path, kind in pod.host_paths:
        _check_host_path(path, kind, rules)


def make(pod: PodPlan) -> None:
    """Make everything else a Pod mounts. What is as wanted already is left alone. Raises ProviderError."""
    folder = Path(pod.folder)
    with _typed(pod.folder):
        for private in (folder.parent.parent, folder.parent):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
        for name in pod.folders:
            _make_folder(folder / name, 0o777)
        for path, size, owner in pod.claims:
            claims.make(Path(path), claims.Deed(owner=owner, size=size))
        for name, files in pod.files.items():
            write(folder / name, files)


def is_damaged(pod: PodPlan) -> bool:
    """Return whether somebody altered what a Pod mounts read-only, or took its folders away."""
    folder = Path(pod.folder)
    with _typed(pod.folder):
        return not all((folder / name).is_dir() for name in pod.folders) or any(
            differences(folder / name, files) for name, files in pod.files.items()
        )


def write(folder: Path, files: Iterable[File], *, mode: int = 0o755) -> None:
    """Make `folder` hold exactly these files. Raises OSError."""
    wanted = {file.path: file for file in files}
    _make_folder(folder, mode)
    for path in _below(folder):
        if str(path.relative_to(folder)) not in wanted or path.is_symlink() or not path.is_file():
            path.unlink(missing_ok=True)
    for file in wanted.values():
        if _is_as(folder / file.path, file):
            continue
        inside = folder
        for part in file.path.split("/")[:-1]:
            inside = inside / part
            _make_folder(inside, mode)
        if (folder / file.path).is_dir():
            shutil.rmtree(folder / file.path)
        fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            replace_file(fd, file.path.rpartition("/")[2], file.content, mode=file.mode)
        finally:
            os.close(fd)


def differences(folder: Path, files: Iterable[File]) -> tuple[str, ...]:
    """Return the paths in `folder` that are not as wanted: absent, altered or surplus. Raises OSError."""
    wanted = {file.path: file for file in files}
    surplus = {str(path.relative_to(folder)) for path in _below(folder)} - wanted.keys()
    wrong = {path for path, file in wanted.items() if not _is_as(folder / path, file)}
    return tuple(sorted(surplus | wrong))


def remove_folder(pod: PodPlan) -> None:
    remove(Path(pod.folder))


def remove(folder: Path) -> None:
    """Remove a folder and all below it; absent already is success. Raises ProviderError."""
    with _typed(str(folder)):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)


def prune(folder: Path, keep: set[str]) -> None:
    """Remove the Pods' folders in a resource's folder that nobody uses any more. Raises ProviderError."""
    with _typed(str(folder)):
        for path in [entry for entry in folder.iterdir() if entry.name not in keep] if folder.is_dir() else ():
            remove(path)


def _check_host_path(path: str, kind: str, rules: Rules) -> None:
    """Where links lead must be allowed too. The engine resolves the path again: a root within which others may put
    links is theirs to abuse, so give containers folders that only the site's own people write to."""
    with _typed(path):
        real = os.path.realpath(path)
        state = os.path.realpath(rules.state)
        own = bool(rules.state) and (is_within(real, state) or is_within(state, real))
        if own or not any(is_within(real, os.path.realpath(root)) for root in rules.host_paths):
            raise PermanentError(f"{path} leads to {real}, which no container may see here", reason="NotAllowed")
        if kind == "DirectoryOrCreate":
            Path(real).mkdir(mode=0o755, parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            Path(real).touch(mode=0o644)
        try:
            mode = os.stat(real).st_mode
        except FileNotFoundError:
            raise TransientError(
                f"{path} does not exist", reason="HostPathAbsent", hint="or use a type …OrCreate"
            ) from None
        if kind and not _KINDS[kind](mode):
            raise TransientError(f"{path} is not a {kind.removesuffix('OrCreate')}", reason="HostPathType")


def _make_folder(path: Path, mode: int) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()
    path.mkdir(exist_ok=True, parents=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def _below(folder: Path) -> Iterator[Path]:
    """Yield everything below that is not a folder; links are not followed."""
    for root, folders, names in os.walk(folder):
        for name in [*names, *(each for each in folders if os.path.islink(os.path.join(root, each)))]:
            yield Path(root) / name


def _is_as(path: Path, file: File) -> bool:
    try:
        standing = path.lstat()
        return (
            stat.S_ISREG(standing.st_mode)
            and stat.S_IMODE(standing.st_mode) == file.mode
            and standing.st_size == len(file.content)
            and path.read_bytes() == file.content
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def _typed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise provider_error(error, path) from error
