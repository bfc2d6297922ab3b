"""inotify(7) through the C library: which names changed in which folders. The only door to it."""

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED: Final = 0x40 | 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
IS_FOLDER: Final = 0x4000_0000
_ONLY_FOLDERS: Final = 0x0100_0000
_NO_LINKS: Final = 0x0200_0000
_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024


class Event(msgspec.Struct, frozen=True):
    watch: int  # -1 for an overflow of the queue
    mask: int
    name: str  # "" for an event of the folder itself


class Inotify:
    """One inotify instance. Raises OSError: EMFILE (too many instances), ENOSPC (too many watches), ENOENT."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, folder: str, mask: int) -> int:
        """Watch a folder and return the number of the watch; the same folder again gets the same number."""
        path = ctypes.c_char_p(os.fsencode(folder))
        return self._check(
            self._libc.inotify_add_watch(self.fd, path, ctypes.c_uint32(mask | _ONLY_FOLDERS | _NO_LINKS))
        )

    def remove(self, watch: int) -> None:
        """Stop watching; a watch that is gone already is success."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[Event]:
        """Yield what is waiting, nothing when nothing is."""
        while True:
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size
                yield Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
                at += length

    def close(self) -> None:
        os.close(self.fd)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
