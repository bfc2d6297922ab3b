"""What a compiled expression refers to, read from its serialised form.

The library hands out its tree only as protobuf bytes (cel.expr.CheckedExpr in an Any); these are the few
fields of it that matter, by number, without generated code.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

CONST: Final = 3
IDENT: Final = 4
SELECT: Final = 5
CALL: Final = 6
LIST: Final = 7
STRUCT: Final = 8
LOOP: Final = 9
STRING: Final = 6
ROOT: Final = 4  # of a CheckedExpr
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
    selected: frozenset[str]  # every field read anywhere, of whatever
    calls: frozenset[str]
    loose_optionals: bool


def uses(serialised: bytes) -> Uses:
    """Return what a checked expression uses; names bound by its own loops are its own, also when they hide another."""
    checked = fields_of(fields_of(serialised)[2][0])
    root = checked[ROOT][0]
    optionals = {number_of(entry, 1) for entry in checked.get(_TYPES, ()) if b"optional_type" in entry}
    names: set[str] = set()
    read: set[tuple[str, str]] = set()
    calls: set[str] = set()
    selected: set[str] = set()
    loose = bool(optionals) and number_of(root, 2) in optionals
    stack: list[tuple[bytes, frozenset[str]]] = [(root, frozenset())]
    while stack:
        data, bound = stack.pop()
        node = fields_of(data)
        if CALL in node:
            calls.add(text_of(fields_of(node[CALL][0]).get(2)))
        if optionals:
            loose = loose or any(number_of(each, 2) in optionals for each in _not_unwrapped(node))
        name = identifier(node)
        if name is not None:
            if name not in bound:
                names.add(name)
                read.add((name, ""))
            continue
        inside = list(children(node, bound))
        found = _first_field(node)
        selected |= _selected(node)
        if found is not None and found[0] not in bound:
            names.add(found[0])
            read.add(found)
            inside = inside[1:]  # the identifier itself, said with its field
        stack.extend(inside)
    return Uses(frozenset(names), frozenset(read), frozenset(selected), frozenset(calls), loose)


def nodes_of(serialised: bytes) -> Iterator[Fields]:
    """Yield every node of an expression, each before what is inside it."""
    stack = [fields_of(fields_of(serialised)[2][0])[ROOT][0]]
    while stack:
        node = fields_of(stack.pop())
        yield node
        stack.extend(each for each, _ in children(node, frozenset()))


def literal_text(data: bytes) -> str | None:
    """Return the text a node is, written out; None when it is anything else."""
    constant = fields_of(data).get(CONST)
    value = fields_of(constant[0]) if constant else {}
    return text_of(value[STRING]) if STRING in value else None


def _not_unwrapped(node: Fields) -> list[bytes]:
    """Return the children that would hand on an optional as it is."""
    if SELECT in node:
        return []
    if CALL in node:
        call = fields_of(node[CALL][0])
        return [] if call.get(2, [b""])[0] in _UNWRAPPING else [*call.get(1, ()), *call.get(3, ())]
    if LIST in node:
        literal = fields_of(node[LIST][0])
        flagged = _packed(literal.get(2, ()))
        return [each for index, each in enumerate(literal.get(1, ())) if index not in flagged]
    if STRUCT in node:
        entries = fields_of(node[STRUCT][0]).get(2, ())
        return [each for entry in entries if not number_of(entry, 5) for each in fields_of(entry).get(4, ())]
    return [each for each, _ in children(node, frozenset())]


def identifier(node: Fields) -> str | None:
    return text_of(fields_of(node[IDENT][0]).get(1)) if IDENT in node else None


def _first_field(node: Fields) -> tuple[str, str] | None:
    """Return (name, field) of `name.field`, `name.?field` and `name["field"]`; the name is the first child."""
    if SELECT in node:
        select = fields_of(node[SELECT][0])
        name = identifier(fields_of(select[1][0])) if 1 in select else None
        return (name, text_of(select.get(2))) if name is not None else None
    if CALL in node:
        call = fields_of(node[CALL][0])
        arguments = call.get(3, [])
        if len(arguments) == 2 and 1 not in call and call.get(2, [b""])[0] in _INDEXES:
            name = identifier(fields_of(arguments[0]))
            constant = fields_of(arguments[1]).get(CONST)
            if name is not None and constant and STRING in (value := fields_of(constant[0])):
                return (name, text_of(value[STRING]))
    return None


def _selected(node: Fields) -> set[str]:
    """Return the field a node reads: `x.field`, `x.?field`, `x["field"]`."""
    if SELECT in node:
        return {text_of(fields_of(node[SELECT][0]).get(2))}
    if CALL in node:
        call = fields_of(node[CALL][0])
        arguments = call.get(3, [])
        constant = fields_of(arguments[1]).get(CONST) if len(arguments) == 2 else None
        if constant and call.get(2, [b""])[0] in _INDEXES and STRING in (value := fields_of(constant[0])):
            return {text_of(value[STRING])}
    return set()


def children(node: Fields, bound: frozenset[str]) -> Iterator[tuple[bytes, frozenset[str]]]:
    if SELECT in node:
        yield from ((each, bound) for each in fields_of(node[SELECT][0]).get(1, ()))
    elif CALL in node:
        call = fields_of(node[CALL][0])
        yield from ((each, bound) for each in (*call.get(1, ()), *call.get(3, ())))
    elif LIST in node:
        yield from ((each, bound) for each in fields_of(node[LIST][0]).get(1, ()))
    elif STRUCT in node:
        for data in fields_of(node[STRUCT][0]).get(2, ()):
            entry = fields_of(data)
            yield from ((each, bound) for each in (*entry.get(3, ()), *entry.get(4, ())))
    elif LOOP in node:
        loop = fields_of(node[LOOP][0])
        yield from ((each, bound) for number in (2, 4) for each in loop.get(number, ()))
        accumulator = bound | {text_of(loop.get(3))}
        variables = accumulator | {text_of(loop.get(number)) for number in (1, 8) if number in loop}
        yield from ((each, variables) for number in (5, 6) for each in loop.get(number, ()))
        yield from ((each, accumulator) for each in loop.get(7, ()))


def text_of(values: list[bytes] | None) -> str:
    return values[0].decode() if values else ""


def fields_of(data: bytes) -> Fields:
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


def number_of(data: bytes, number: int) -> int:
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
