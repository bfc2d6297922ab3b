"""What is committed beside readings: which messages were taken already, and what was rejected and not reported yet."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast_edge.core.sources import Tally

ENTRY: Final = 10  # bytes: packet identifier and the start of a digest


class Memory(msgspec.Struct, array_like=True):
    """The value of a source's cursor."""

    window: bytes = b""
    rejected: dict[str, Tally] = {}
    windows: bytes = b""  # of shaping, still open


class Window:
    """The last messages taken, oldest first."""

    def __init__(self, stored: bytes, size: int) -> None:
        self._size = size
        self._entries = dict.fromkeys(stored[at : at + ENTRY] for at in range(0, len(stored), ENTRY))

    def __contains__(self, entry: bytes) -> bool:
        return entry in self._entries

    def add(self, entry: bytes) -> None:
        entries = self._entries
        entries.pop(entry, None)
        entries[entry] = None
        if len(entries) > self._size:
            del entries[next(iter(entries))]

    def drop(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            self._entries.pop(entry, None)

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()

    def stored(self) -> bytes:
        return b"".join(self._entries)


def entry_of(mid: int, topic: str, payload: bytes) -> bytes:
    """Return what a message is known by when it comes again: its packet identifier and a digest of topic and payload."""
    content = hashlib.sha256(topic.encode("utf-8", "replace") + b"\0" + payload).digest()
    return mid.to_bytes(2, "big") + content[: ENTRY - 2]
