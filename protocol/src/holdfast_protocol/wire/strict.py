"""JSON as the wire takes it: one meaning for every byte, bounded before it is built.

Refused: duplicate keys, NaN and Infinity, integers beyond 2^63, nesting over 32, invalid UTF-8, anything larger
than the caller's limit. RFC 8259 leaves the first two open; two readers could then act on different targets.
"""

import json
import math
import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from holdfast_protocol.errors import WireError

T = TypeVar("T")
MAX_DEPTH: Final = 32
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")  # escaped: text that nothing could store or send again
_DETERMINISTIC: Final = msgspec.json.Encoder(order="deterministic")


def encode(value: Any) -> bytes:
    """Return the canonical JSON of a value: keys sorted, no blanks."""
    return _DETERMINISTIC.encode(value)


def decode(data: bytes, kind: type[T], *, limit: int, strict: bool = True) -> T:
    """Return `data` as a value of `kind`, or raise WireError saying what is wrong and where."""
    try:
        return msgspec.convert(parse(data, limit=limit), kind, strict=strict)
    except msgspec.ValidationError as error:
        raise WireError(str(error), reason="BadShape") from None


def parse(data: bytes, *, limit: int) -> Any:
    """Return plain JSON values. Time and memory are bounded by `limit` bytes."""
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes, the limit is {limit}", reason="TooLarge")
    _check_depth(data)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_number,
        )
        if _SURROGATE.search(data):
            encode(value)
        return value
    except UnicodeEncodeError:
        raise WireError("half of a surrogate pair is no character", reason="BadEncoding") from None
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8 at byte {error.start}", reason="BadEncoding") from None
    except json.JSONDecodeError as error:
        raise WireError(f"not JSON: {error}", reason="BadJson") from None


def _check_depth(data: bytes) -> None:
    depth = 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError(f"nested deeper than {MAX_DEPTH}", reason="TooDeep")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise WireError(f"duplicate key {key[:80]!r}", reason="DuplicateKey")
            seen.add(key)
    return found


def _no_constant(text: str) -> NoReturn:
    raise WireError(f"{text} is not JSON", reason="BadJson")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise WireError(f"number {text[:40]} does not fit a double", reason="BadNumber")
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise WireError(f"integer of {len(text)} digits does not fit 64 bits", reason="BadNumber")
    return value
