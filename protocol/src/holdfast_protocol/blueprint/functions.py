"""kro's own functions of CEL, as plain Python: random, hash, json, maps and lists.

`random` is of the seed alone: the same text for ever, and no secret. Raise ValueError to make the expression fail.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict

Signature = tuple[
    tuple[str, ...], str
]  # parameters and result, each as CEL writes a type, or a name of cel_types.VALUES

MAX_RANDOM: Final = 1024
MAX_RANGE: Final = 10_000  # as many steps as one evaluation may take
OMIT: Final = b"\xffomit()"  # bytes are no value of JSON: nothing else can be meant
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Function(msgspec.Struct, frozen=True):
    """One function by its parameters; "any" takes whatever comes. A member's first parameter stands before the dot.

    The run time tells overloads apart by list, map, value and the like only; `checked` says more to the checker.
    """

    name: str
    parameters: tuple[str, ...]
    result: str
    call: Callable[..., Any]
    member: bool = False
    checked: tuple[Signature, ...] = ()


def go_duration(value: timedelta) -> str:
    """Return a duration as Go writes it: 1h30m0s, 1.5s, 250ms, -2m0s."""
    microseconds = value.days * 86_400_000_000 + value.seconds * 1_000_000 + value.microseconds
    sign, left = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    if left < 1_000_000:
        if left == 0:
            return "0s"
        return f"{sign}{_decimal(left, 1_000)}ms" if left >= 1_000 else f"{sign}{left}µs"
    minutes, rest = divmod(left, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def rfc3339(value: datetime) -> str:
    """Return a time in UTC with as few digits of a second as it needs."""
    text = value.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{value.microsecond:06}".rstrip("0") + "Z" if value.microsecond else f"{text}Z"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}}".rstrip("0") if part else str(whole)


def _seeded_string(length: int, seed: str) -> str:
    if not 0 < length <= MAX_RANDOM:
        raise ValueError(f"random.seededString takes a length of 1 to {MAX_RANDOM}, not {length}")
    source = hashlib.sha256(seed.encode()).digest()
    offsets = (4 * index % 32 for index in range(length))
    return "".join(_ALPHABET[int.from_bytes(source[at : at + 4], "big") % 36] for at in offsets)


def _seeded_int(low: int, high: int, seed: str) -> int:
    if low >= high:
        raise ValueError("random.seededInt takes a minimum below its maximum")
    return low + int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % (high - low)


def _fnv64a(text: str) -> bytes:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value.to_bytes(8, "big")


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _marshal(value: Any) -> str:
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("json.marshal takes maps whose keys are text")
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, timedelta):
        return go_duration(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bytes | bytearray):
        raise ValueError("json.marshal takes no bytes: encode them with base64.encode")  # noqa: TRY004 (an evaluation error)
    return value


def _unmarshal(text: str) -> Any:
    try:
        return _doubles(strict.parse(text.encode(), limit=1 << 20))
    except WireError as error:
        raise ValueError(f"json.unmarshal: {error}") from None


def _doubles(value: Any) -> Any:
    """Every number parsed from JSON is a double, as in Go."""
    if isinstance(value, dict):
        return {key: _doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_doubles(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _bounded_range(length: int) -> list[int]:
    if length > MAX_RANGE:
        raise ValueError(f"lists.range: {length} is more than {MAX_RANGE}")
    return list(range(length))


def _merge(left: dict[Any, Any], right: dict[Any, Any]) -> dict[Any, Any]:
    return {**left, **right}


def _deep_merge(left: Any, right: Any) -> Any:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return right
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _deep_merge(left[key], value) if key in left else value
    return merged


def _set_at(items: list[Any], index: int, value: Any) -> list[Any]:
    _within(index, len(items), "lists.setAtIndex")
    return [*items[:index], value, *items[index + 1 :]]


def _insert_at(items: list[Any], index: int, value: Any) -> list[Any]:
    _within(index, len(items) + 1, "lists.insertAtIndex")
    return [*items[:index], value, *items[index:]]


def _remove_at(items: list[Any], index: int) -> list[Any]:
    _within(index, len(items), "lists.removeAtIndex")
    return [*items[:index], *items[index + 1 :]]


def _within(index: int, end: int, name: str) -> None:
    if not 0 <= index < end:
        raise ValueError(f"{name}: index {index} is not within 0 to {end - 1}")


FUNCTIONS: Final = (
    Function("omit", (), "dyn", lambda: OMIT),
    Function("random.seededString", ("int", "string"), "string", _seeded_string),
    Function("random.seededInt", ("int", "int", "string"), "int", _seeded_int),
    Function("hash.fnv64a", ("string",), "bytes", _fnv64a),
    Function("hash.sha256", ("string",), "bytes", lambda text: hashlib.sha256(text.encode()).digest()),
    Function("hash.md5", ("string",), "bytes", _md5),
    Function("json.marshal", ("any",), "string", _marshal),
    Function("json.unmarshal", ("string",), "dyn", _unmarshal),
    Function("merge", ("map", "map"), "map", _merge, member=True),
    Function("deepMerge", ("map", "map"), "dyn", _deep_merge, member=True),
    Function("lists.setAtIndex", ("list", "int", "any"), "list", _set_at),
    Function("lists.insertAtIndex", ("list", "int", "any"), "list", _insert_at),
    Function("lists.removeAtIndex", ("list", "int"), "list", _remove_at),
)
# The library's own lists.range takes any number and the memory for it: run time uses this instead, under its own name.
BOUNDED_RANGE: Final = Function("lists.boundedRange", ("int",), "list", _bounded_range)
