"""What is true of one stream of the outbox, kept in memory beside the database."""

import msgspec

from holdfast_protocol.wire.batch import Segment
from holdfast_protocol.wire.messages import StreamState
from holdfast_protocol.wire.names import Incarnation

MiB = 1024 * 1024


class Quotas(msgspec.Struct, frozen=True):
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


class Depth(msgspec.Struct, frozen=True):
    """What a class holds and has lost. `oldest`: milliseconds since 1970 by this node's clock, 0 when empty."""

    rows: int
    bytes: int
    oldest: int
    lost: int  # rows dropped for want of room or because of damage, since the database was made


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


class Stream(msgspec.Struct):
    """Copied for every transaction and put in place after its commit."""

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
