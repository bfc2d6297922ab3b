"""Semantic versions in CEL, and the comparisons they share with quantities."""

import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message

from holdfast_protocol.blueprint.cel_types import is_value, text_of, value_of
from holdfast_protocol.blueprint.functions import Function
from holdfast_protocol.blueprint.quantities import number_of

MAX_LENGTH: Final = 256
_NUMBER: Final = r"(0|[1-9][0-9]*)"
_FORM: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_LOOSE: Final = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?", re.ASCII)

Version = tuple[tuple[int, int, int], tuple[str, ...]]


def version(text: str, *, normalize: bool = False) -> Version:
    """Return numbers and pre-release parts; `normalize` takes v1, 1.2 and 01.2.3 too. ValueError when it is none."""
    if len(text) <= MAX_LENGTH and normalize and (loose := _LOOSE.fullmatch(text)):
        text = ".".join(str(int(each or 0)) for each in loose.groups()[:3]) + (loose[4] or "")
    found = _FORM.fullmatch(text) if len(text) <= MAX_LENGTH else None
    parts = tuple(found[4].split(".")) if found and found[4] else ()
    if found is None or any(each.isdigit() and each != "0" and each[0] == "0" for each in parts):
        raise ValueError(f"{text[:80]!r} is no semantic version: 1.2.3, 1.2.3-rc.1")
    major, minor, patch = (int(each) for each in found.groups()[:3])
    if max(major, minor, patch) >= 2**63:
        raise ValueError(f"{text[:80]!r} has a number that does not fit 64 bits")
    return (major, minor, patch), parts


def _key(value: Version) -> tuple[Any, ...]:
    """Return what versions compare by: numbers before words, no pre-release after any."""
    numbers, parts = value
    ranked = tuple((0, int(each), "") if each.isdigit() else (1, 0, each) for each in parts)
    return (numbers, not parts, ranked)


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        version(text, normalize=normalize)
    except ValueError:
        return False
    return True


def _semver(text: str, normalize: bool = False) -> Message:
    numbers, parts = version(text, normalize=normalize)
    plain = ".".join(map(str, numbers)) + ("-" + ".".join(parts) if parts else "")
    return value_of("semver", text=plain)  # what follows + is no part of what it is


def _number(index: int) -> Callable[[Message], int]:
    return lambda value: version(text_of(value, "semver"))[0][index]


def compare(left: Message, right: Message) -> int:
    """Return -1, 0 or 1 for two versions, or two quantities."""
    first: Any
    second: Any
    if is_value(left, "quantity"):
        first, second = number_of(left), number_of(right)
    else:
        first, second = (_key(version(text_of(each, "semver"))) for each in (left, right))
    return int(first > second) - int(first < second)


_BOTH: Final = (("semver", "semver"), ("quantity", "quantity"))


def _comparison(name: str, result: str, call: Callable[[Message, Message], Any]) -> Function:
    return Function(name, ("semver", "semver"), result, call, True, tuple((each, result) for each in _BOTH))


FUNCTIONS: Final = (
    Function("isSemver", ("string",), "bool", _is_semver),
    Function("isSemver", ("string", "bool"), "bool", _is_semver),
    Function("semver", ("string",), "semver", _semver),
    Function("semver", ("string", "bool"), "semver", _semver),
    Function("major", ("semver",), "int", _number(0), member=True),
    Function("minor", ("semver",), "int", _number(1), member=True),
    Function("patch", ("semver",), "int", _number(2), member=True),
    _comparison("isLessThan", "bool", lambda a, b: compare(a, b) < 0),
    _comparison("isGreaterThan", "bool", lambda a, b: compare(a, b) > 0),
    _comparison("compareTo", "int", compare),
)
