"""Readings, and the columns in which a group of them travels.

A series is (device, metric, unit, quality, kind of value). A group holds its readings series by series, each in the
order given; that order is the order of their sequence numbers. Times travel as differences, floats with few decimals
as differences of scaled integers, all other numbers as their eight bytes: every value comes back bit-equal. The
columns are MessagePack in one zstd frame.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import copysign
from operator import sub
from typing import Final, Literal, NoReturn, TypeVar

import msgspec

from holdfast_protocol.errors import MisuseError, WireError
from holdfast_protocol.wire.compression import compress

MAX_ROWS: Final = 4_096  # of one group, readings or records
MAX_RAW: Final = 1024 * 1024  # bytes of one group before compression
MAX_BLOB: Final = 512 * 1024  # bytes of one group after it, half of what a batch may be
MAX_NAME: Final = 256  # characters of device, metric, unit and quality
MAX_TEXT: Final = 4096  # characters of a value
MAX_TIME: Final = 2**53
MAX_DECIMALS: Final = 9
_INT64: Final = 2**63
_EXACT: Final = 2**53  # integers up to here are floats without loss
_BYTES: Final = -1  # instead of a number of decimals: the eight bytes of each value

Kind = Literal["int", "float", "bool", "text"]
Value = float | int | bool | str
_KINDS: Final[dict[type, Kind]] = {int: "int", float: "float", bool: "bool", str: "text"}
_TYPES: Final = {kind: type_ for type_, kind in _KINDS.items()}
T = TypeVar("T")


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One value of one metric. `time` is in milliseconds since 1970: the device's own, or when it was received."""

    device: str
    metric: str
    time: int
    value: Value
    unit: str = ""
    quality: str = "good"


class Series(msgspec.Struct, frozen=True):
    """Readings of one group that differ in time and value only."""

    device: str
    metric: str
    unit: str
    quality: str
    kind: Kind
    times: Sequence[int]
    values: Sequence[Value]


class Encoded(msgspec.Struct, frozen=True):
    """A group as it is stored and sent; `raw` is its size in bytes before compression."""

    count: int
    raw: int
    blob: bytes


class _Column(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    device: str
    metric: str
    unit: str
    quality: str
    kind: Kind
    decimals: int  # of a float column; `_BYTES` for float and int columns that do not fit differences
    times: list[int]  # the first, then differences
    values: msgspec.Raw  # differences like `times`, or texts, or bytes (one a bool, eight a number, transposed)


class _Group(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    v: int
    columns: list[_Column]


_INTS: Final = msgspec.msgpack.Decoder(list[int])
_TEXTS: Final = msgspec.msgpack.Decoder(list[str])
_BLOB: Final = msgspec.msgpack.Decoder(bytes)
_GROUP: Final = msgspec.msgpack.Decoder(_Group)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(readings: Sequence[Reading]) -> list[Encoded]:
    """Return `readings` in as few groups as the limits allow. Raises MisuseError `BadReading` for what fits none."""
    encoded = []
    for start in range(0, len(readings), MAX_ROWS):
        encoded += _encode(readings[start : start + MAX_ROWS])
    return encoded


def _encode(readings: Sequence[Reading]) -> list[Encoded]:
    columns = [_column(key, *points) for key, points in _by_series(readings).items()]
    try:
        raw = _ENCODER.encode(_Group(1, columns))
    except UnicodeEncodeError as error:
        raise MisuseError(f"a name is not text: {error}", reason="BadReading") from None
    if len(raw) <= MAX_RAW and len(blob := compress(raw)) <= MAX_BLOB:
        return [Encoded(len(readings), len(raw), blob)]
    half = len(readings) // 2
    return _encode(readings[:half]) + _encode(readings[half:])


def join(groups: Iterable[Sequence[Series]]) -> list[Encoded]:
    """Return decoded groups as one, series by series; as several only when the limits ask for it."""
    found: dict[_Key, tuple[list[int], list[Value]]] = {}
    for series in groups:
        for each in series:
            times, values = found.setdefault(
                (each.device, each.metric, each.unit, each.quality, _TYPES[each.kind]), ([], [])
            )
            times += each.times
            values += each.values
    raw = _ENCODER.encode(_Group(1, [_column(key, *points) for key, points in found.items()]))
    count = sum(len(times) for times, _ in found.values())
    if count <= MAX_ROWS and len(raw) <= MAX_RAW and len(blob := compress(raw)) <= MAX_BLOB:
        return [Encoded(count, len(raw), blob)]
    return encode(
        [
            Reading(key[0], key[1], time, value, key[2], key[3])
            for key, points in found.items()
            for time, value in zip(*points, strict=True)
        ]
    )


_Key = tuple[str, str, str, str, type]


def _by_series(readings: Sequence[Reading]) -> dict[_Key, tuple[list[int], list[Value]]]:
    found: dict[_Key, tuple[list[int], list[Value]]] = {}
    for reading in readings:
        value = reading.value
        key = (reading.device, reading.metric, reading.unit, reading.quality, type(value))
        points = found.get(key)
        if points is None:
            points = found[key] = ([], [])
        points[0].append(reading.time)
        points[1].append(value)
    return found


def _column(key: _Key, times: list[int], values: list[Value]) -> _Column:
    *names, type_ = key
    kind = _KINDS.get(type_)
    if kind is None or any(type(name) is not str or len(name) > MAX_NAME for name in names):
        _refuse(key, "a name or the type of the value")
    if set(map(type, times)) != {int} or min(times) < -MAX_TIME or max(times) > MAX_TIME:
        _refuse(key, "a time")
    try:
        decimals, packed = _packed(kind, values)
        return _Column(*key[:4], kind, decimals, _differences(times), msgspec.Raw(_ENCODER.encode(packed)))
    except (OverflowError, struct.error, UnicodeEncodeError):
        _refuse(key, "a value")


def _refuse(key: _Key, what: str) -> NoReturn:
    raise MisuseError(f"{what} is out of range in {str(key)[:200]}", reason="BadReading")


def _packed(kind: Kind, values: Sequence[Value]) -> tuple[int, list[int] | list[str] | bytes]:
    """Return the decimals of a column and its values as they travel."""
    if kind == "bool":
        return 0, bytes(values)  # type: ignore[arg-type]  # all bool
    if kind == "text":
        texts: list[str] = values  # type: ignore[assignment]  # all str
        if max(map(len, texts)) > MAX_TEXT:
            raise OverflowError
        return 0, texts
    if kind == "int":
        ints: list[int] = values  # type: ignore[assignment]  # all int
        if min(ints) >= -_EXACT and max(ints) <= _EXACT:
            return 0, _differences(ints)
        return _BYTES, _transposed(struct.pack(f"<{len(ints)}q", *ints))
    floats: list[float] = values  # type: ignore[assignment]  # all float
    scaled = _scaled(floats)
    if scaled is not None:
        return scaled[0], _differences(scaled[1])
    return _BYTES, _transposed(struct.pack(f"<{len(floats)}d", *floats))


def _scaled(values: list[float]) -> tuple[int, list[int]] | None:
    """Return decimals and integers from which `n / 10**decimals` gives back every bit; None when there are none."""
    for sample in (values[:4], values):
        decimals = max(map(_decimals, sample))
        if decimals > MAX_DECIMALS:
            return None
        power = 10.0**decimals
        try:
            ints = [round(value * power) for value in values]
        except (OverflowError, ValueError):  # infinite or not a number
            return None
        if [n / power for n in ints] == values:
            break
    else:
        return None
    if max(ints) > _EXACT or min(ints) < -_EXACT:
        return None
    if 0 in ints and any(value == 0 and copysign(1, value) < 0 for value in values):
        return None
    return decimals, ints


def _decimals(value: float) -> int:
    """Return the decimals `value` is written with; more than MAX_DECIMALS when it needs an exponent."""
    _, point, decimals = repr(value).partition(".")
    if not point or "e" in decimals:
        return MAX_DECIMALS + 1
    return 0 if decimals == "0" else len(decimals)


def _differences(values: list[int]) -> list[int]:
    return [values[0], *map(sub, values[1:], values)]


def _transposed(packed: bytes) -> bytes:
    """Return first bytes first: neighbouring numbers differ in their last ones, and zstd finds that."""
    return b"".join(packed[place::8] for place in range(8))


def decode(raw: bytes, count: int) -> list[Series]:
    """Return the series of a decompressed group of `count` readings, or raise WireError."""
    try:
        group = _GROUP.decode(raw)
        if group.v != 1:
            raise WireError(f"readings version {group.v} is not understood here", reason="UnknownVersion")
        series = [_series(column) for column in group.columns]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, struct.error, OverflowError) as error:
        raise WireError(f"not a group of readings: {error}", reason="BadGroup") from None
    found = sum(len(each.times) for each in series)
    if found != count or count > MAX_ROWS:
        raise WireError(f"{found} readings where {count} are stated", reason="BadGroup")
    return series


def _series(column: _Column) -> Series:
    if max(map(len, (column.device, column.metric, column.unit, column.quality))) > MAX_NAME:
        raise WireError("a name is too long", reason="BadGroup")
    times = list(accumulate(column.times))
    values = _unpacked(column)
    if not times or len(times) != len(values) or min(times) < -MAX_TIME or max(times) > MAX_TIME:
        raise WireError("times and values do not fit", reason="BadGroup")
    return Series(column.device, column.metric, column.unit, column.quality, column.kind, times, values)


def _unpacked(column: _Column) -> Sequence[Value]:
    kind, decimals = column.kind, column.decimals
    if kind == "bool":
        flags = _BLOB.decode(column.values)
        if flags.strip(b"\0\1"):
            raise WireError("a bool is neither 0 nor 1", reason="BadGroup")
        return list(map(bool, flags))
    if kind == "text":
        texts = _TEXTS.decode(column.values)
        if texts and max(map(len, texts)) > MAX_TEXT:
            raise WireError("a text is too long", reason="BadGroup")
        return texts
    if decimals == _BYTES:
        packed = _BLOB.decode(column.values)
        rows = len(packed) // 8
        straight = bytearray(len(packed))
        for place in range(8 if len(packed) == 8 * rows else 0):
            straight[place::8] = packed[place * rows : (place + 1) * rows]
        return struct.unpack(f"<{rows}{'q' if kind == 'int' else 'd'}", straight)
    ints = list(accumulate(_INTS.decode(column.values)))
    if ints and (max(ints) > _EXACT or min(ints) < -_EXACT):
        raise WireError("an integer is out of range", reason="BadGroup")
    if kind == "int":
        return ints
    if not 0 <= decimals <= MAX_DECIMALS:
        raise WireError(f"{decimals} decimals", reason="BadGroup")
    power = 10.0**decimals
    return [n / power for n in ints]


def readings(series: Sequence[Series]) -> Iterator[Reading]:
    """Yield the readings of a decoded group in the order of their sequence numbers."""
    for each in series:
        for time, value in zip(each.times, each.values, strict=True):
            yield Reading(each.device, each.metric, time, value, each.unit, each.quality)
