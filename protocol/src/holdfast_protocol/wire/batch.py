"""A batch: consecutive segments of one stream, signed, as they travel on `up/{class}`.

A segment is a group (rows, as encoded when they were committed at the node) or a tombstone (rows that were dropped,
counted). Segments follow each other without a hole, so only the batch says where it begins. The chain links every
group to all before it:

    c(n) = sha256(c(n-1) || first || count || sha256(blob)), first and count as 8 bytes, big-endian; c(0) = 32 zeros

A tombstone carries the chain of its end. Two nodes with one identity, or a disk rolled back, differ in the chain.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import envelope, topics
from holdfast_protocol.wire.messages import Quality
from holdfast_protocol.wire.names import FleetName, Incarnation, NodeName, SiteName, is_hex, is_name
from holdfast_protocol.wire.readings import MAX_BLOB, MAX_RAW, MAX_ROWS
from holdfast_protocol.wire.topics import STREAM_CLASSES

KIND: Final = envelope.payload_type("batch", encoding="msgpack")
GENESIS: Final = bytes(32)
MAX_SEGMENTS: Final = 1024
MAX_BATCH_ROWS: Final = 64 * 1024
MAX_BATCH_RAW: Final = 4 * MAX_RAW  # bytes of all groups of a batch, decompressed
MAX_SEQUENCE: Final = 2**53
MAX_REASON: Final = 64


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """A node's clocks when a group was committed. Nothing orders by them."""

    boot_id: str
    boottime: int  # milliseconds since boot, suspended time included
    wall: int  # milliseconds since 1970
    quality: Quality = "unknown"


class Group(msgspec.Struct, frozen=True, array_like=True, tag_field="t", tag="g"):
    """`count` rows. `blob` is encoded as `wire.readings` or `wire.records` says."""

    count: int
    kind: Literal["readings", "records"]
    stamp: Stamp
    blob: bytes


class Tombstone(msgspec.Struct, frozen=True, array_like=True, tag_field="t", tag="t"):
    """`count` rows of `size` bytes that will never come, and the chain at their end."""

    count: int
    size: int
    reason: str  # CamelCase: QuotaExceeded, Compacted, Damaged, Released
    chain: bytes


Segment = Group | Tombstone


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Fields may be added at the end. [inv: every-loss-is-counted]"""

    kind: str
    v: int
    fleet: FleetName
    site: SiteName
    node: NodeName
    stream: str  # p0 to p3
    incarnation: Incarnation
    origin: int  # the incarnation's first sequence is the one after this
    high: int  # the last sequence given out when this was sent
    first: int
    historical: bool  # committed before the connection it is sent on
    before: bytes  # chain before `first`; empty: not known any more, and a tombstone comes first
    after: bytes  # chain at the end
    segments: list[Segment]

    @property
    def last(self) -> int:
        return self.first + sum(segment.count for segment in self.segments) - 1


class Placed(NamedTuple):
    """A segment with its place in the stream."""

    first: int
    last: int
    before: bytes  # empty: not known
    after: bytes
    segment: Segment


class _Header(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    v: int


_BATCH: Final = msgspec.msgpack.Decoder(Batch)
_HEADER: Final = msgspec.msgpack.Decoder(_Header)


def link(before: bytes, first: int, count: int, blob: bytes) -> bytes:
    """Return the chain after a group."""
    place = first.to_bytes(8, "big") + count.to_bytes(8, "big")
    return hashlib.sha256(before + place + hashlib.sha256(blob).digest()).digest()


def placed(first: int, before: bytes, segments: Iterable[Segment]) -> Iterator[Placed]:
    """Yield segments with their sequences and chains."""
    for segment in segments:
        after = link(before, first, segment.count, segment.blob) if isinstance(segment, Group) else segment.chain
        yield Placed(first, first + segment.count - 1, before, after, segment)
        first, before = first + segment.count, after


def seal(batch: Batch, signer: envelope.Signer) -> bytes:
    return envelope.pack(KIND, msgspec.msgpack.encode(batch), [signer])


def open_batch(data: bytes, keys: dict[str, bytes]) -> Batch:
    """Return the batch in an envelope signed by one of `keys` (name to raw public key).

    Checked: size, signature, version, shape, chain. Groups stay encoded: each is decoded, and refused, on its own.
    """
    payload = envelope.open_packed(data, KIND, keys, limit=topics.TABLE["up"].limit)
    try:
        header = _HEADER.decode(payload)
        if (header.kind, header.v) != ("batch", 1):
            raise WireError(f"{header.kind[:80]!r} version {header.v} is not understood here", reason="UnknownVersion")
        batch = _BATCH.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a batch: {error}", reason="BadShape") from None
    problem = _problem(batch)
    if problem:
        raise WireError(f"not a batch: {problem}", reason="BadShape")
    *_, last = placed(batch.first, batch.before, batch.segments)
    if last.after != batch.after:
        raise WireError("the segments do not have the chain stated", reason="BadChain")
    return batch


def _problem(batch: Batch) -> str:
    """Return what is wrong with a batch's fields, "" when nothing is."""
    names: tuple[Any, ...] = (batch.fleet, batch.site, batch.node)
    if not all(map(is_name, names)) or batch.stream not in STREAM_CLASSES or not is_hex(batch.incarnation, 32):
        return "a name"
    if not 1 <= len(batch.segments) <= MAX_SEGMENTS:
        return "the number of segments"
    if not 0 <= batch.origin < batch.first <= batch.last <= batch.high <= MAX_SEQUENCE:
        return "its place in the stream"
    if len(batch.before) not in (0, 32) or (not batch.before and isinstance(batch.segments[0], Group)):
        return "the chain before"
    rows = 0
    for segment in batch.segments:
        if isinstance(segment, Group):
            rows += segment.count
            if not 1 <= segment.count <= MAX_ROWS or len(segment.blob) > MAX_BLOB or not _is_stamp(segment.stamp):
                return "a group"
        elif segment.count < 1 or not 0 <= segment.size <= MAX_SEQUENCE or not _is_reason(segment):
            return "a tombstone"
    return "too many rows" if rows > MAX_BATCH_ROWS else ""


def _is_reason(tombstone: Tombstone) -> bool:
    return 1 <= len(tombstone.reason) <= MAX_REASON and len(tombstone.chain) == 32


def _is_stamp(stamp: Stamp) -> bool:
    return len(stamp.boot_id) <= 64 and abs(stamp.boottime) <= MAX_SEQUENCE and abs(stamp.wall) <= MAX_SEQUENCE
