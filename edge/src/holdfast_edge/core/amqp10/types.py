"""AMQP 1.0's types as Python's, whatever the bytes: each length is checked before it is believed.

A symbol is a Symbol, a timestamp milliseconds since 1970, a uuid its text; what is described by another type of the
specification is a Described.
"""

import struct
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple

MAX_DEPTH: Final = 16  # of lists, maps and descriptions in each other
MAX_ITEMS: Final = 20_000  # of one value, all levels together
_NOTHING: Final = frozenset({0x40, 0x41, 0x42, 0x43, 0x44, 0x45})  # types whose values take no byte


class Malformed(Exception):
    """The bytes are not what they must be."""


class Symbol(str):
    """A word of the protocol or of the broker, in ASCII."""

    __slots__ = ()


class Described(NamedTuple):
    descriptor: Any  # an int or a Symbol, where the sender keeps to the specification
    value: Any


_FIXED: Final[dict[int, tuple[int, Callable[[bytes], Any]]]] = {
    0x40: (0, lambda _: None),
    0x41: (0, lambda _: True),
    0x42: (0, lambda _: False),
    0x43: (0, lambda _: 0),
    0x44: (0, lambda _: 0),
    0x45: (0, lambda _: []),
    0x50: (1, lambda raw: raw[0]),
    0x51: (1, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x52: (1, lambda raw: raw[0]),
    0x53: (1, lambda raw: raw[0]),
    0x54: (1, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x55: (1, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x56: (1, lambda raw: raw != b"\0"),
    0x60: (2, lambda raw: int.from_bytes(raw, "big")),
    0x61: (2, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x70: (4, lambda raw: int.from_bytes(raw, "big")),
    0x71: (4, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x72: (4, lambda raw: struct.unpack(">f", raw)[0]),
    0x73: (4, lambda raw: raw.decode("utf-32-be")),
    0x80: (8, lambda raw: int.from_bytes(raw, "big")),
    0x81: (8, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x82: (8, lambda raw: struct.unpack(">d", raw)[0]),
    0x83: (8, lambda raw: int.from_bytes(raw, "big", signed=True)),
    0x98: (16, lambda raw: str(uuid.UUID(bytes=raw))),
}
_VARIABLE: Final[dict[int, tuple[int, Callable[[bytes], Any]]]] = {
    0xA0: (1, bytes),
    0xB0: (4, bytes),
    0xA1: (1, lambda raw: raw.decode("utf-8")),
    0xB1: (4, lambda raw: raw.decode("utf-8")),
    0xA3: (1, lambda raw: Symbol(raw.decode("ascii"))),
    0xB3: (4, lambda raw: Symbol(raw.decode("ascii"))),
}
_LISTS: Final = {0xC0: 1, 0xD0: 4}
_MAPS: Final = {0xC1: 1, 0xD1: 4}
_ARRAYS: Final = {0xE0: 1, 0xF0: 4}


def decoded(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Return the value that begins at `at`, and where it ends. Raises Malformed."""
    reader = _Reader(data, at)
    try:
        return reader.value(0), reader.at
    except (UnicodeDecodeError, OverflowError, ValueError):
        raise Malformed("a text, a symbol or a character that is none") from None


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at
        self._left = MAX_ITEMS

    def value(self, depth: int) -> Any:
        code = self._byte()
        if code == 0x00:
            if depth >= MAX_DEPTH:
                raise Malformed(f"more than {MAX_DEPTH} levels deep")
            return Described(self.value(depth + 1), self.value(depth + 1))
        return self._of(code, depth)

    def _of(self, code: int, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Malformed(f"more than {MAX_ITEMS} values in one")
        if code in _FIXED:
            size, read = _FIXED[code]
            return read(self._bytes(size))
        if code in _VARIABLE:
            width, read = _VARIABLE[code]
            return read(self._bytes(self._number(width)))
        if depth >= MAX_DEPTH:
            raise Malformed(f"more than {MAX_DEPTH} levels deep")
        if code in _LISTS:
            count, end = self._compound(_LISTS[code])
            return self._ended([self.value(depth + 1) for _ in range(count)], end)
        if code in _MAPS:
            return self._map(code, depth)
        if code in _ARRAYS:
            return self._array(code, depth)
        raise Malformed(f"type {code:#04x} is not known here")

    def _map(self, code: int, depth: int) -> dict[Any, Any]:
        count, end = self._compound(_MAPS[code])
        if count % 2:
            raise Malformed("a map with a key and no value")
        found: dict[Any, Any] = {}
        for _ in range(count // 2):
            key = self.value(depth + 1)
            if isinstance(key, list | dict | tuple):
                raise Malformed("a list or a map as the key of a map")
            found[key] = self.value(depth + 1)
        return self._ended(found, end)  # type: ignore[no-any-return]

    def _array(self, code: int, depth: int) -> list[Any]:
        count, end = self._compound(_ARRAYS[code])
        descriptor, inner = None, self._byte()
        if inner == 0x00:
            descriptor, inner = self.value(depth + 1), self._byte()
        if inner in _NOTHING and count > 1:
            raise Malformed("an array of values that take no byte")
        items = [self._of(inner, depth + 1) for _ in range(count)]
        return self._ended([Described(descriptor, item) for item in items] if descriptor is not None else items, end)  # type: ignore[no-any-return]

    def _compound(self, width: int) -> tuple[int, int]:
        """Return how many values follow, and where they must end."""
        size = self._number(width)
        end = self.at + size
        if end > len(self._data):
            raise Malformed("it ends before its end")
        count = self._number(width)
        if count > size:
            raise Malformed(f"{count} values in {size} bytes")
        return count, end

    def _ended(self, value: Any, end: int) -> Any:
        if self.at != end:
            raise Malformed("a list, map or array that is not as long as it says")
        return value

    def _number(self, width: int) -> int:
        return int.from_bytes(self._bytes(width), "big")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise Malformed("it ends before its end")
        found = self._data[self.at : end]
        self.at = end
        return found


def encoded(type_: str, value: Any) -> bytes:
    """Return a value as the specification's type of that name; None as null. Only what a receiver says is known."""
    if value is None:
        return b"\x40"
    return _ENCODERS[type_](value)


def described(code: int, fields: list[bytes]) -> bytes:
    """Return a list of encoded fields, described by a number; nulls at its end are left away."""
    while fields and fields[-1] == b"\x40":
        fields = fields[:-1]
    body = b"".join(fields)
    return b"\x00\x53" + bytes([code]) + b"\xd0" + struct.pack(">II", len(body) + 4, len(fields)) + body


def _text(code: int, text: str, coding: str) -> bytes:
    raw = text.encode(coding)
    return bytes([code]) + struct.pack(">I", len(raw)) + raw


def _symbols(words: tuple[str, ...]) -> bytes:
    body = b"".join(_text(0, word, "ascii")[1:] for word in words)
    return b"\xf0" + struct.pack(">IIB", len(body) + 5, len(words), 0xB3) + body


_ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "boolean": lambda value: b"\x41" if value else b"\x42",
    "ubyte": lambda value: struct.pack(">BB", 0x50, value),
    "ushort": lambda value: struct.pack(">BH", 0x60, value),
    "uint": lambda value: struct.pack(">BI", 0x70, value),
    "ulong": lambda value: struct.pack(">BQ", 0x80, value),
    "binary": lambda value: struct.pack(">BI", 0xB0, len(value)) + value,
    "string": lambda value: _text(0xB1, value, "utf-8"),
    "symbol": lambda value: _text(0xB3, value, "ascii"),
    "symbols": _symbols,
    "*": bytes,  # encoded already
}
