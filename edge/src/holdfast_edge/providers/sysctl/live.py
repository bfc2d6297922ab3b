"""The kernel's settings as they are now: /proc/sys. Blocking, but memory only."""

import errno
import os
from pathlib import Path
from typing import Final

from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from holdfast_protocol.kinds.sysctl import key_of, normal

_MOST: Final = 65536  # bytes read of one value
_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC


class Live:
    """Keys are paths below `root`, checked by `wire.sysctl`."""

    def __init__(self, root: Path = Path("/proc/sys")) -> None:
        self._root = str(root)

    def read(self, path: str) -> str:
        """Return a value with single blanks. PermanentError: UnknownKey, NotPermitted, NotReadable."""
        try:
            fd = os.open(f"{self._root}/{path}", os.O_RDONLY | _FLAGS)
            try:
                return normal(os.read(fd, _MOST).decode(errors="replace"))
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EIO, errno.EINVAL} and os.geteuid() == 0:
                raise PermanentError(
                    f"{key_of(path)} cannot be read", reason="NotReadable", hint="it is an action, not a setting"
                ) from None
            raise _typed(error, path) from error

    def check_writable(self, path: str) -> None:
        """Raise what a write would raise, without one: UnsupportedError when /proc/sys is read-only here."""
        try:
            os.close(os.open(f"{self._root}/{path}", os.O_WRONLY | _FLAGS))
        except OSError as error:
            raise _typed(error, path) from error

    def write(self, path: str, value: str) -> None:
        """Set a value. PermanentError: InvalidValue, and NotTaken when the kernel made something else of it."""
        try:
            fd = os.open(f"{self._root}/{path}", os.O_WRONLY | _FLAGS)
            try:
                os.write(fd, f"{value}\n".encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise _typed(error, path, value) from error
        now = self.read(path)
        if now != value:
            raise PermanentError(
                f"{key_of(path)}: {value[:80]!r} was taken as {now[:80]!r}",
                reason="NotTaken",
                hint="write the value as the kernel shows it",
            )


def _typed(error: OSError, path: str, value: str = "") -> ProviderError:
    key = key_of(path)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR:
            hint = "its module or interface may have to be there first"
            return PermanentError(f"{key} is no key of this kernel", reason="UnknownKey", hint=hint)
        case errno.EROFS:
            hint = "a container, or the host of this machine, keeps it so"
            return UnsupportedError(f"{key}: /proc/sys is read-only here", reason="ReadOnlyProc", hint=hint)
        case errno.EACCES | errno.EPERM:
            hint = "the key is read-only, or the agent needs more rights"
            return PermanentError(f"{key}: {error.strerror}", reason="NotPermitted", hint=hint)
        case errno.EINVAL | errno.ERANGE | errno.EDOM:
            return PermanentError(f"{key}: the kernel does not take {value[:80]!r}", reason="InvalidValue")
        case errno.EBUSY | errno.ENOMEM | errno.EAGAIN | errno.EMFILE | errno.ENFILE:
            return TransientError(f"{key}: {error.strerror}", reason="Busy")
    return PermanentError(f"{key}: {error.strerror}", reason="Refused")
