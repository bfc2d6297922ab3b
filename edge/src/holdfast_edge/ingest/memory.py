"""What is committed beside readings: which messages were taken already, and what was rejected and not reported yet."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from holdfast_edge.core.sources import Tally

ENTRY: Final = 10  # bytes: packet identifier and the start of a digest
CHUNK: Final = 1_000  # entries that are committed again and again, before they have a row of their own
CHUNKS: Final = 16  # remembered of messages nobody can say the sender knows to be taken
ASKED: Final = 60  # of a connection whose broker is asked; as messages fewer than there are packet identifiers
SLOTS: Final = 64  # rows for chunks, used in turn
_NEVER: Final = 2**63


class Memory(msgspec.Struct, array_like=True):
    """The value of a source's cursor."""

    window: bytes = b""  # the chunk that grows
    rejected: dict[str, Tally] = {}
    windows: bytes = b""  # of shaping, still open
    chunks: tuple[int, ...] = ()  # numbers of those with a row of their own
    growing: int = 0  # the number of the one that grows


class Window:
    """The last messages taken, oldest first, in chunks: a commit writes the one that grows, and each other once.

    INVARIANT: `_known` holds every entry of the chunks and of `_open`, and where the newest of its kind stands.
    """

    def __init__(self, memory: Memory, row: Callable[[int], bytes]) -> None:
        """`row` returns the chunk that a slot holds."""
        self._chunks: dict[int, tuple[int, list[bytes]]] = {}  # by number, oldest first: where it begins, and entries
        self._open: list[bytes] = []
        self._begins = 0  # where `_open` does, counted in messages
        self._committed = 0  # what was added before is
        self._known: dict[bytes, int] = {}
        self._unsaved: set[int] = set()
        self._since = self._confirmed = _NEVER  # where the present connection begins, when its broker can be asked
        for self._number in memory.chunks:
            for entry in _entries(row(self._number % SLOTS)):
                self.add(entry)
            self._close()
        self._number = memory.growing
        for entry in _entries(memory.window):
            self.add(entry)
        self._committed = self.mark

    def __contains__(self, entry: bytes) -> bool:
        return entry in self._known

    def __len__(self) -> int:
        return len(self._known)

    @property
    def mark(self) -> int:
        """What was added up to now can be confirmed by this."""
        return self._begins + len(self._open)

    @property
    def asked(self) -> int:
        """How many messages of the present connection its broker did not yet confirm."""
        return max(self.mark - self._confirmed, 0)

    def add(self, entry: bytes) -> None:
        self._known[entry] = self._begins + len(self._open)
        self._open.append(entry)

    def begin(self) -> None:
        """From here on a broker is asked what it knows; what was taken before stays in doubt."""
        self._since = self._confirmed = self.mark

    def confirm(self, mark: int) -> None:
        """Forget what was added between `begin` and a mark: it does not come again."""
        self._confirmed = max(self._confirmed, mark)
        self._drop([n for n, (at, held) in self._chunks.items() if self._since <= at and at + len(held) <= mark])
        if self._since <= self._begins < mark:
            self._forget(self._begins, self._open[: mark - self._begins])
            del self._open[: mark - self._begins]
            self._begins = mark

    def clear(self) -> None:
        self._begins = self.mark
        self._chunks.clear()
        self._unsaved.clear()
        self._open.clear()
        self._known.clear()

    def dump(self) -> Memory:
        """Return what to commit, but for `unsaved`."""
        if len(self._open) >= CHUNK:
            self._unsaved.add(self._number)
            self._close()
            self._expire()
        return Memory(b"".join(self._open), chunks=tuple(self._chunks), growing=self._number)

    def unsaved(self) -> dict[int, bytes]:
        """Return rows to commit with it, by slot."""
        return {number % SLOTS: b"".join(self._chunks[number][1]) for number in self._unsaved}

    def saved(self) -> None:
        """All of `unsaved` is committed, and nothing was added or dumped since."""
        self._unsaved.clear()
        self._committed = self.mark

    def withdraw(self) -> None:
        """Forget what was added and is not committed: it comes again, and was not taken."""
        while self._unsaved and self._begins > self._committed:
            self._number, (self._begins, held) = self._chunks.popitem()
            self._unsaved.discard(self._number)
            self._open = held + self._open
        place = max(self._committed - self._begins, 0)
        self._forget(self._begins + place, self._open[place:])
        del self._open[place:]

    def _close(self) -> None:
        self._chunks[self._number] = (self._begins, self._open)
        self._begins += len(self._open)
        self._open, self._number = [], self._number + 1

    def _expire(self) -> None:
        newest = self._number
        self._drop([n for n, (at, _) in self._chunks.items() if n < newest - (ASKED if at >= self._since else CHUNKS)])

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._unsaved.discard(number)
            self._forget(*self._chunks.pop(number))

    def _forget(self, at: int, entries: Iterable[bytes]) -> None:
        for place, entry in enumerate(entries, at):
            if self._known.get(entry) == place:
                del self._known[entry]


def entry_of(mid: int, topic: str, payload: bytes) -> bytes:
    """Return what a message is known by when it comes again: its packet identifier and a digest of topic and payload."""
    content = hashlib.sha256(topic.encode("utf-8", "replace") + b"\0" + payload).digest()
    return mid.to_bytes(2, "big") + content[: ENTRY - 2]


def _entries(stored: bytes) -> list[bytes]:
    return [stored[at : at + ENTRY] for at in range(0, len(stored), ENTRY)]
