"""A group of records (p0 to p2): strict JSON in one zstd frame."""

from collections.abc import Sequence
from typing import Final

from holdfast_protocol.errors import MisuseError, WireError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.compression import compress
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import MAX_BLOB, MAX_RAW, MAX_ROWS, Encoded

MAX_RECORD: Final = 128 * 1024  # bytes of JSON


def encode(records: Sequence[Record]) -> list[Encoded]:
    """Return `records` in as few groups as the limits allow. Raises MisuseError `BadRecord` for what fits none."""
    for record in records:
        _check(record)
    encoded = []
    for start in range(0, len(records), MAX_ROWS):
        encoded += _encode(records[start : start + MAX_ROWS])
    return encoded


def _check(record: Record) -> None:
    try:
        raw = strict.encode(record)
        strict.decode(b"[%s]" % raw, list[Record], limit=MAX_RECORD)  # what the hub would refuse is refused here
    except (TypeError, ValueError, RecursionError, WireError) as error:
        raise MisuseError(f"record {record.kind!r} cannot be sent: {error}", reason="BadRecord") from None


def _encode(records: Sequence[Record]) -> list[Encoded]:
    raw = strict.encode(list(records))
    if len(raw) <= MAX_RAW and len(blob := compress(raw)) <= MAX_BLOB:
        return [Encoded(len(records), len(raw), blob)]
    half = len(records) // 2
    return _encode(records[:half]) + _encode(records[half:])


def decode(raw: bytes, count: int) -> list[Record]:
    """Return the records of a decompressed group of `count`, or raise WireError."""
    records = strict.decode(raw, list[Record], limit=MAX_RAW)
    if len(records) != count or count > MAX_ROWS:
        raise WireError(f"{len(records)} records where {count} are stated", reason="BadGroup")
    return records
