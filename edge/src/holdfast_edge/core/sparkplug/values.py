"""Values of every Sparkplug type as ours: numbers, booleans and text.

A float of 32 bits becomes the shortest decimal that is the same float. Sets of data and arrays become JSON, bytes and
files base64, as text of at most `MAX_TEXT` characters. A number that is none (NaN, infinite) is no value, as null is none.
"""

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_edge.core.sparkplug import schema
from holdfast_edge.core.sparkplug.payload import parsed, text_of
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.readings import MAX_TEXT, Value

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = range(1, 13)
DATETIME, TEXT, UUID, DATASET, BYTES, FILE, TEMPLATE = range(13, 20)
INT8_ARRAY, BOOLEAN_ARRAY, STRING_ARRAY, DATETIME_ARRAY = 22, 32, 33, 34
MAX_CELLS: Final = MAX_TEXT // 2  # more than that many cannot be in a text of this length
_SIGNED: Final = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}
_UNSIGNED: Final = {UINT8: 8, UINT16: 16, UINT32: 32, UINT64: 64, DATETIME: 64}
_WIDTHS: Final = {"int_value": 32, "long_value": 64}
_ITEMS: Final = dict(zip(range(22, 32), "bhiqBHIQfd", strict=True)) | {DATETIME_ARRAY: "q"}
_INT64_MAX: Final = 2**63 - 1
_FLOAT_MAX: Final = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


def value_of(datatype: int, case: str, raw: Any) -> Value | None:
    """Return a value, None for one that is not there. `raw` is the content of the field named `case`.

    Raises Unfit `BadValue`, `BadText`, `TooLarge`, `UnknownType`. Templates are no values; their members are.
    """
    if not case:
        return None
    if datatype in _SIGNED or datatype in _UNSIGNED:
        return _integer(datatype, case, raw)
    if datatype in (FLOAT, DOUBLE):
        return _number(case, raw)
    if datatype == BOOLEAN and case == "boolean_value":
        return bool(raw)
    if datatype in (STRING, TEXT, UUID) and case == "string_value":
        return _text(raw)
    if datatype in (BYTES, FILE) and case == "bytes_value":
        if len(raw) > MAX_TEXT * 3 // 4:
            raise Unfit("TooLarge", f"{len(raw)} bytes, the limit is {MAX_TEXT * 3 // 4}")
        return base64.b64encode(raw).decode()
    if datatype == DATASET and case == "dataset_value":
        return _json(_table(parsed(schema.DataSet, raw)))
    if INT8_ARRAY <= datatype <= DATETIME_ARRAY and case == "bytes_value":
        return _json(_array(datatype, raw))
    if not 0 < datatype <= DATETIME_ARRAY:
        raise Unfit("UnknownType", f"type {datatype} is none of Sparkplug's")
    raise Unfit("BadValue", f"a {case} is no value of type {datatype}")


def _integer(datatype: int, case: str, raw: Any) -> int | float:
    width = _WIDTHS.get(case)
    if width is None:
        raise Unfit("BadValue", f"a {case} is no integer")
    number = int(raw)
    if (bits := _UNSIGNED.get(datatype)) is not None:
        if number >> bits:
            raise Unfit("BadValue", f"{number} does not fit {bits} bits")
        return number if number <= _INT64_MAX else float(number)
    bits = _SIGNED[datatype]
    if number >> (bits - 1) == 0:
        return number
    if number >> bits == 0:  # negative, in its own width
        return number - (1 << bits)
    if bits < width and number >= (1 << width) - (1 << (bits - 1)):  # negative, in the width it travels in
        return number - (1 << width)
    raise Unfit("BadValue", f"{number} does not fit {bits} bits")


def _number(case: str, raw: Any) -> float | None:
    if case not in ("float_value", "double_value"):
        raise Unfit("BadValue", f"a {case} is no floating-point number")
    number = float(raw)
    if not math.isfinite(number):
        return None
    return shortest(number) if case == "float_value" else number


def shortest(number: float) -> float:
    """Return the decimal of fewest digits that is the same float of 32 bits."""
    packed = struct.pack("<f", number)
    for digits in (6, 7, 8):
        short = float(f"{number:.{digits}g}")
        if abs(short) <= _FLOAT_MAX and struct.pack("<f", short) == packed:
            return short
    return float(f"{number:.9g}")


def _text(raw: bytes) -> str:
    if len(raw) > 4 * MAX_TEXT or len(text := text_of(raw)) > MAX_TEXT:
        raise Unfit("TooLarge", f"a text of {len(raw)} bytes, the limit is {MAX_TEXT} characters")
    if "\0" in text:
        raise Unfit("BadText", "text with a NUL, which no database takes")
    return text


def _json(content: Any) -> str:
    text = msgspec.json.encode(content).decode()
    if len(text) > MAX_TEXT:
        raise Unfit("TooLarge", f"{len(text)} characters of JSON, the limit is {MAX_TEXT}")
    if "\\u0000" in text:
        raise Unfit("BadText", "text with a NUL, which no database takes")
    return text


def _table(message: Any) -> dict[str, Any]:
    width = len(message.columns)
    if width != len(message.types) or (message.num_of_columns and message.num_of_columns != width):
        raise Unfit("BadValue", "a set of data whose columns, types and their number disagree")
    if width * max(1, len(message.rows)) > MAX_CELLS or len(message.rows) > MAX_CELLS:
        raise Unfit("TooLarge", f"a set of data of {len(message.rows)} rows and {width} columns")
    rows = []
    for part in message.rows:
        elements = parsed(schema.Row, part).elements
        if len(elements) != width:
            raise Unfit("BadValue", f"a row of {len(elements)} where there are {width} columns")
        cells = [parsed(schema.DataSetValue, element) for element in elements]
        rows.append([_cell(type_, cell) for type_, cell in zip(message.types, cells, strict=True)])
    return {"columns": [_text(column) for column in message.columns], "rows": rows}


def _cell(datatype: int, cell: Any) -> Value | None:
    if not 0 < datatype <= TEXT:  # what the specification allows in a set of data
        raise Unfit("UnknownType", f"type {datatype} in a set of data")
    case = cell.WhichOneof("value") or ""
    return value_of(datatype, case, getattr(cell, case) if case else None)


def _array(datatype: int, raw: bytes) -> Sequence[Value | None]:
    if datatype == BOOLEAN_ARRAY:
        return _flags(raw)
    if len(raw) > 8 * MAX_CELLS:
        raise Unfit("TooLarge", f"an array of {len(raw)} bytes")
    if datatype == STRING_ARRAY:
        if raw and not raw.endswith(b"\0"):
            raise Unfit("BadValue", "an array of text that does not end in NUL")
        return [_text(part) for part in raw.split(b"\0")[:-1]]
    code = _ITEMS[datatype]
    count, rest = divmod(len(raw), struct.calcsize(f"<{code}"))
    if rest:
        raise Unfit("BadValue", f"an array of {len(raw)} bytes does not divide into its items")
    items = struct.unpack(f"<{count}{code}", raw)
    if code not in "fd":
        return items
    return [None if not math.isfinite(item) else shortest(item) if code == "f" else item for item in items]


def _flags(raw: bytes) -> list[bool]:
    """A count of four bytes, then the flags from the highest bit of each byte down."""
    count = int.from_bytes(raw[:4], "little") if len(raw) >= 4 else -1
    if count > MAX_CELLS or len(raw) > 4 + MAX_CELLS:
        raise Unfit("TooLarge", f"an array of {count} flags")
    if count < 0 or len(raw) - 4 != (count + 7) // 8:
        raise Unfit("BadValue", "an array of flags whose count and length disagree")
    return [bool(raw[4 + place // 8] & (0x80 >> place % 8)) for place in range(count)]
