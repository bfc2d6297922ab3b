"""What a compiled expression refers to, read from its serialised form.

The library hands out its tree only as protobuf bytes (cel.expr.CheckedExpr in an Any); these are the few
fields of it that matter, by number, without generated code.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

_CONST: Final = 3
_IDENT: Final = 4
_SELECT: Final = 5
_CALL: Final = 6
_LIST: Final = 7
_STRUCT: Final = 8
_LOOP: Final = 9
_STRING: Final = 6
_ROOT: Final = 4  # of a CheckedExpr
_TYPES: Final = 3  # of a CheckedExpr: a type for the id of each node
_UNWRAPPING: Final = frozenset({b"orValue", b"or", b"value", b"hasValue", b"_?._", b"_[?_]", b"_[_]"})
_INDEXES: Final = frozenset({b"_?._", b"_[_]", b"_[?_]"})

Fields = dict[int, list[bytes]]


class Uses(msgspec.Struct, frozen=True):
    """Names an expression takes from outside, and which first fields of them it reads ("" for the whole).

    `loose_optionals` says that somewhere an optional is neither unwrapped at once nor a `?` entry or element.
    """

    names: frozenset[str]
    fields: frozenset[tuple[str, str]]
    calls: frozenset[str]
    loose_optionals: bool


def uses(serialised: bytes) -> Uses:
    """Return what a checked expression uses; names bound by its own loops are its own, also when they hide another."""
    checked = _fields(_fields(serialised)[2][0])
    root = checked[_ROOT][0]
    optionals = {_number(entry, 1) for entry in checked.get(_TYPES, ()) if b"optional_type" in entry}
    names: set[str] = set()
    read: set[tuple[str, str]] = set()
    calls: set[str] = set()
    loose = bool(optionals) and _number(root, 2) in optionals
    stack: list[tuple[bytes, frozenset[str]]] = [(root, frozenset())]
    while stack:
        data, bound = stack.pop()
        node = _fields(data)
        if _CALL in node:
            calls.add(_text(_fields(node[_CALL][0]).get(2)))
        if optionals:
            loose = loose or any(_number(each, 2) in optionals for each in _not_unwrapped(node))
        name = _identifier(node)
        if name is not None:
            if name not in bound:
                names.add(name)
                read.add((name, ""))
            continue
        inside = list(_children(node, bound))
        found = _first_field(node)
        if found is not None and found[0] not in bound:
            names.add(found[0])
            read.add(found)
            inside = inside[1:]  # the identifier itself, said with its field
        stack.extend(inside)
    return Uses(frozenset(names), frozenset(read), frozenset(calls), loose)


def _not_unwrapped(node: Fields) -> list[bytes]:
    """Return the children that would hand on an optional as it is."""
    if _SELECT in node:
        return []
    if _CALL in node:
        call = _fields(node[_CALL][0])
        return [] if call.get(2, [b""])[0] in _UNWRAPPING else [*call.get(1, ()), *call.get(3, ())]
    if _LIST in node:
        literal = _fields(node[_LIST][0])
        flagged = _packed(literal.get(2, ()))
        return [each for index, each in enumerate(literal.get(1, ())) if index not in flagged]
    if _STRUCT in node:
        entries = _fields(node[_STRUCT][0]).get(2, ())
        return [each for entry in entries if not _number(entry, 5) for each in _fields(entry).get(4, ())]
    return [each for each, _ in _children(node, frozenset())]


def _identifier(node: Fields) -> str | None:
    return _text(_fields(node[_IDENT][0]).get(1)) if _IDENT in node else None


def _first_field(node: Fields) -> tuple[str, str] | None:
    """Return (name, field) of `name.field`, `name.?field` and `name["field"]`; the name is the first child."""
    if _SELECT in node:
        select = _fields(node[_SELECT][0])
        name = _identifier(_fields(select[1][0])) if 1 in select else None
        return (name, _text(select.get(2))) if name is not None else None
    if _CALL in node:
        call = _fields(node[_CALL][0])
        arguments = call.get(3, [])
        if len(arguments) == 2 and 1 not in call and call.get(2, [b""])[0] in _INDEXES:
            name = _identifier(_fields(arguments[0]))
            constant = _fields(arguments[1]).get(_CONST)
            if name is not None and constant and _STRING in (value := _fields(constant[0])):
                return (name, _text(value[_STRING]))
    return None


def _children(node: Fields, bound: frozenset[str]) -> Iterator[tuple[bytes, frozenset[str]]]:
    if _SELECT in node:
        yield from ((each, bound) for each in _fields(node[_SELECT][0]).get(1, ()))
    elif _CALL in node:
        call = _fields(node[_CALL][0])
        yield from ((each, bound) for each in (*call.get(1, ()), *call.get(3, ())))
    elif _LIST in node:
        yield from ((each, bound) for each in _fields(node[_LIST][0]).get(1, ()))
    elif _STRUCT in node:
        for data in _fields(node[_STRUCT][0]).get(2, ()):
            entry = _fields(data)
            yield from ((each, bound) for each in (*entry.get(3, ()), *entry.get(4, ())))
    elif _LOOP in node:
        loop = _fields(node[_LOOP][0])
        yield from ((each, bound) for number in (2, 4) for each in loop.get(number, ()))
        accumulator = bound | {_text(loop.get(3))}
        variables = accumulator | {_text(loop.get(number)) for number in (1, 8) if number in loop}
        yield from ((each, variables) for number in (5, 6) for each in loop.get(number, ()))
        yield from ((each, accumulator) for each in loop.get(7, ()))


def _text(values: list[bytes] | None) -> str:
    return values[0].decode() if values else ""


def _fields(data: bytes) -> Fields:
    """Return the length-delimited fields of a message by number; the others do not matter here."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            length, at = _varint(data, at)
            found.setdefault(tag >> 3, []).append(data[at : at + length])
            at += length
        else:
            at += 8 if wire == 1 else 4
    return found


def _number(data: bytes, number: int) -> int:
    """Return the last varint of field `number`, 0 when there is none."""
    at = value = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            found, at = _varint(data, at)
            value = found if tag >> 3 == number else value
        elif wire == 2:
            length, at = _varint(data, at)
            at += length
        else:
            at += 8 if wire == 1 else 4
    return value


def _packed(parts: Sequence[bytes]) -> set[int]:
    found: set[int] = set()
    for data in parts:
        at = 0
        while at < len(data):
            value, at = _varint(data, at)
            found.add(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
