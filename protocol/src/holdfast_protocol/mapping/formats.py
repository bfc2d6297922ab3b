"""What a payload says, by its format: plain values, bounded before they are built."""

import base64
import csv
import io
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire import strict

Format = Literal["json", "cbor", "number", "csv", "raw"]
FORMATS: Final[tuple[Format, ...]] = ("json", "cbor", "number", "csv", "raw")
MAX_PAYLOAD: Final = 64 * 1024  # bytes
MAX_LINES: Final = 2_000  # of one CSV message
MAX_COLUMNS: Final = 256
MAX_RAW: Final = 3_000  # bytes; as text in base64 they fill what a reading's text may be
_JSON: Final = msgspec.json.Decoder()
_NUMBER: Final = re.compile(rb"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?")
_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}/[A-Za-z0-9][\w.+-]{0,60}", re.ASCII)


class Csv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How lines are cut: without `columns` the first line of each message names them."""

    columns: tuple[str, ...] = ()
    separator: str = ","


class Reader(msgspec.Struct, frozen=True):
    """How to read the payloads of a source."""

    format: Format = "json"
    csv: Csv = Csv()
    content_type: str = "application/octet-stream"  # of raw bytes
    limit: int = MAX_PAYLOAD  # bytes

    @property
    def is_listed(self) -> bool:
        """Whether a payload is several values, one a line."""
        return self.format == "csv"


def decoded(payload: bytes, reader: Reader) -> Any:
    """Return the value of a payload: for csv the list of its lines, each by column. Raises Unfit."""
    if len(payload) > reader.limit:
        raise Unfit("TooLarge", f"{len(payload)} bytes, the limit is {reader.limit}")
    if not payload:
        raise Unfit("Empty", "no payload")
    return _DECODERS[reader.format](payload, reader)


def is_content_type(text: str) -> bool:
    return _CONTENT_TYPE.fullmatch(text) is not None


def json_value(payload: bytes, limit: int = MAX_PAYLOAD) -> Any:
    """Return what JSON says, with the strictness of `wire.strict` and at the price of a plain decoder. Raises Unfit."""
    try:
        value = _JSON.decode(payload)
        if payload.count(b'"') == 2 * _texts(value, 0):
            return value  # no key is there twice: that would be quotes no text accounts for
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        pass  # it is said below what is wrong
    try:
        return strict.parse(payload, limit=limit)
    except WireError as error:
        raise Unfit(error.reason, error.message) from None


def _texts(value: Any, depth: int) -> int:
    """Return how many texts a value holds, keys included. Raises OverflowError for what is too deep or too large."""
    kind = type(value)
    if kind is dict:
        if depth >= strict.MAX_DEPTH:
            raise OverflowError
        found = len(value)
        for each in value.values():
            kind = type(each)
            if kind is str:
                found += 1
            elif kind is int:
                if not -(2**63) <= each < 2**63:
                    raise OverflowError
            elif kind is not float:
                found += _texts(each, depth + 1)
        return found
    if kind is list:
        if depth >= strict.MAX_DEPTH:
            raise OverflowError
        return sum(_texts(each, depth + 1) for each in value if type(each) is not float)
    if kind is int and not -(2**63) <= value < 2**63:
        raise OverflowError
    return 1 if kind is str else 0


def _json(payload: bytes, reader: Reader) -> Any:
    return json_value(payload, reader.limit)


def _number(payload: bytes, _: Reader) -> Any:
    text = payload.strip()
    if not _NUMBER.fullmatch(text):
        raise Unfit("BadNumber", f"{text[:40]!r} is not a number")
    if text.lstrip(b"+-").isdigit():
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return whole
        raise Unfit("BadNumber", "an integer that does not fit 64 bits")
    value = float(text)
    if not math.isfinite(value):
        raise Unfit("BadNumber", f"{text[:40]!r} does not fit a double")
    return value


def _csv(payload: bytes, reader: Reader) -> list[dict[str, str]]:
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit("BadEncoding", f"not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise Unfit("BadText", "a NUL in CSV")
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=reader.csv.separator, strict=True)
        rows = [(lines.line_num, row) for row in lines if row]
    except csv.Error as error:
        raise Unfit("BadCsv", f"not CSV: {error}") from None
    columns = list(reader.csv.columns) or ([cell.strip() for cell in rows.pop(0)[1]] if rows else [])
    if len(rows) > MAX_LINES or len(columns) > MAX_COLUMNS:
        raise Unfit(
            "TooMany", f"{len(rows)} lines of {len(columns)} columns, the limits are {MAX_LINES}, {MAX_COLUMNS}"
        )
    if len(set(columns)) != len(columns) or "" in columns:
        raise Unfit("BadCsv", "a column without a name, or two with one")
    for number, row in rows:
        if len(row) != len(columns):
            cells = f"{len(row)} cell{'' if len(row) == 1 else 's'}"
            raise Unfit("BadCsv", f"line {number} has {cells}, {len(columns)} columns are named")
    if not rows:
        raise Unfit("Empty", "no line but the header")
    return [dict(zip(columns, row, strict=True)) for _, row in rows]


def _raw(payload: bytes, reader: Reader) -> str:
    if len(payload) > MAX_RAW:
        raise Unfit("TooLarge", f"{len(payload)} raw bytes, the limit is {MAX_RAW}")
    return f"data:{reader.content_type};base64,{base64.b64encode(payload).decode()}"


@cache
def _cbor_library() -> Any:
    import cbor2

    return cbor2


def _cbor(payload: bytes, _: Reader) -> Any:
    cbor2 = _cbor_library()
    try:
        file = io.BytesIO(payload)
        value = cbor2.CBORDecoder(
            file,
            max_depth=strict.MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_TAGS,
        ).decode()
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError, TypeError, ArithmeticError) as error:
        raise Unfit("BadCbor", f"not CBOR: {str(error)[:200]}") from None
    if file.read(1):
        raise Unfit("BadCbor", "something follows the value")
    return _plain(value, 0)


def _refuse(*_: object) -> Any:
    raise ValueError("a tag that says nothing a reading could be")


# What a value could refer to, run or grow by; plain values, times (0, 1), big numbers (2, 3) and decimals (4) stay.
_TAGS: Final[Mapping[int, Callable[..., Any]]] = dict.fromkeys(
    (5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse
)


def _plain(value: Any, depth: int) -> Any:
    """Return a decoded value as JSON has it: times in milliseconds, bytes in base64."""
    match value:
        case None | bool() | str():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
        case Decimal() if value.is_finite() and abs(value.adjusted()) < 300:
            return float(value)
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
        case list() if depth < strict.MAX_DEPTH:
            return [_plain(each, depth + 1) for each in value]
        case dict() if depth < strict.MAX_DEPTH and all(type(key) is str for key in value):
            return {key: _plain(each, depth + 1) for key, each in value.items()}
        case int() | float() | Decimal():
            raise Unfit("BadNumber", "a number that a reading cannot carry")
    raise Unfit("BadCbor", f"a {type(value).__name__[:40]} is no value here; keys of maps are text")


_DECODERS: Final[Mapping[Format, Callable[[bytes, Reader], Any]]] = {
    "json": _json,
    "cbor": _cbor,
    "number": _number,
    "csv": _csv,
    "raw": _raw,
}
