"""What is true of one stream of the outbox, kept in memory beside the database."""

from typing import Final

import msgspec

from holdfast_protocol.wire.batch import Segment
from holdfast_protocol.wire.messages import StreamState
from holdfast_protocol.wire.names import Incarnation

MiB = 1024 * 1024
DAY_MS: Final = 86_400_000


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes a class may hold; p0 is reserved room. `ballast` is freed when the disk is full; `file` 0: from the rest."""

    p0: int = 16 * MiB
    p1: int = 16 * MiB
    p2: int = 32 * MiB
    p3: int = 256 * MiB
    ballast: int = 8 * MiB
    file: int = 0  # bytes the database file may take

    def of(self, stream: str) -> int:
        return {"p0": self.p0, "p1": self.p1, "p2": self.p2, "p3": self.p3}[stream]

    @property
    def whole(self) -> int:
        """The bound of the file: all classes, pages not quite full, and a little."""
        return self.file or (self.p0 + self.p1 + self.p2 + self.p3) * 5 // 4 + 4 * MiB


class Loss(msgspec.Struct, frozen=True):
    rows: int
    bytes: int


class Depth(msgspec.Struct, frozen=True):
    """What a class holds and has lost. `oldest`: milliseconds since 1970 by this node's clock, 0 when empty."""

    rows: int
    bytes: int
    oldest: int
    lost: int  # rows that will never reach the hub, since the database was made
    quota: int = 0  # bytes
    losses: dict[str, Loss] = {}  # by reason; `Compacted` (p1) is no loss: a newer value of the same key is there


class Page(msgspec.Struct, frozen=True):
    """Consecutive segments of a stream, ready to be a batch."""

    incarnation: Incarnation
    origin: int
    high: int
    first: int
    last: int
    before: bytes
    after: bytes
    segments: list[Segment]


class Odometer(msgspec.Struct, frozen=True):
    """How long a node has run, all boots together; no wall clock is asked. Milliseconds.

    The time a machine was off is not counted, for nobody knows it: what is to be kept for a day is kept a day at least.
    """

    total: int = 0
    boot_id: str = ""
    boottime: int = 0
    day: int = 0  # which 24 hours of running
    spent: int = 0  # bytes of history sent in them

    def at(self, boot_id: str, boottime: int) -> "Odometer":
        """Return the odometer at a later moment."""
        passed = boottime - self.boottime if boot_id == self.boot_id else boottime
        total = self.total + max(passed, 0)
        day = total // DAY_MS
        return Odometer(total, boot_id, boottime, day, self.spent if day == self.day else 0)


class Stream(msgspec.Struct):
    """Copied for every transaction and put in place after its commit: what it holds is never changed in place."""

    stream: str
    incarnation: Incarnation
    origin: int
    high: int
    tip: bytes
    acked: int
    anchor: bytes
    lost: int
    rows: int = 0
    bytes: int = 0
    oldest: int = 0
    sent: tuple[tuple[int, int], ...] = ()  # ascending and apart: what may have been sent
    coarse: int = 0  # up to here groups were downsampled, or found not to be changeable
    coarse_bytes: int = 0  # held up to `coarse`
    loose: int = 0  # groups appended since it was last looked whether some make a larger one
    taken: int = 0  # bytes appended since the start
    dropped: int = 0  # drops since the start

    @property
    def state(self) -> StreamState:
        return StreamState(self.incarnation, self.acked + 1, self.high, self.acked)

    @property
    def depth(self) -> Depth:
        return Depth(self.rows, self.bytes, self.oldest, self.lost)


class View(msgspec.Struct, frozen=True):
    """What the hub is known to hold: everything up to `upto`, and above it up to `high` all but `missing`."""

    upto: int
    high: int
    missing: tuple[tuple[int, int], ...] = ()
    credit: int = 8
