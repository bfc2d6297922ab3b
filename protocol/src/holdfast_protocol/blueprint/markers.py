"""Markers: the `required=true default="x"` after the `|` of a SimpleSchema field.

A blank ends a marker outside double quotes and brackets; blanks inside a key are dropped, as kro does.
"""

from typing import Final

MARKERS: Final = frozenset(
    [
        "required",
        "default",
        "description",
        "minimum",
        "maximum",
        "validation",
        "enum",
        "immutable",
        "pattern",
        "uniqueItems",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "listType",
        "listMapKey",
    ]
)
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_markers(text: str) -> list[tuple[str, str]]:
    """Return (key, value) in order. ValueError says what is wrong with the text."""
    found: list[tuple[str, str]] = []
    key: str | None = None
    piece: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == "=" and key is None and depth == 0:
            key = _known("".join(piece).strip())
            piece = []
            continue
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth < 0:
                raise ValueError(f"{character} closes nothing")
        elif character.isspace() and depth == 0:
            if key is not None:
                found.append((key, _unquoted("".join(piece))))
                key, piece = None, []
            continue
        piece.append(character)
    if key is None:
        raise ValueError(f"marker {''.join(piece)[:80]!r} has no value: write key=value with no blank around =")
    if quoted:
        raise ValueError("a quote is not closed")
    if depth:
        raise ValueError("a bracket is not closed")
    return [*found, (key, _unquoted("".join(piece)))]


def boolean(text: str, key: str) -> bool:
    """Return a marker's boolean. ValueError when it is none."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{key} must be true or false, not {text[:80]!r}")


def _known(key: str) -> str:
    if not key:
        raise ValueError("a marker has no key before =")
    if key not in MARKERS:
        raise ValueError(f"unknown marker {key[:80]!r}; known: {', '.join(sorted(MARKERS))}")
    return key


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value.strip()
    result: list[str] = []
    escaped = False
    for character in value[1:-1]:
        if escaped:
            result.append(character if character in '"\\' else "\\" + character)
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            result.append(character)
    return "".join(result)
