"""How much an expression may make out of the values it is given: an upper bound, found before it is evaluated.

The library bounds steps and not memory: a text doubled thirty times has a few steps and four gigabytes. So every node's
size is estimated from the actual values that are bound, in characters and elements; what is a field of a bound value
counts exactly, what a function makes counts by what that function can make of its arguments at most.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint import cel_ast
from holdfast_protocol.blueprint.cel_ast import (
    CALL,
    CONST,
    IDENT,
    LIST,
    LOOP,
    SELECT,
    STRING,
    STRUCT,
    fields_of,
    text_of,
)

LIMIT: Final = 64 * 1024 * 1024  # characters of all that one evaluation makes, each value counted once
RANGE: Final = 10_000  # elements of the longest range there is
_PLAIN: Final = 8  # a number, a boolean
_INT: Final = 3
# functions whose result is small whatever they are given
_JUDGING: Final = frozenset(
    {
        *("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "-_", "_-_", "_*_", "_/_", "_%_", "@in"),
        *("@not_strictly_false", "size", "contains", "startsWith", "endsWith", "matches", "hasValue", "isSorted"),
        *("int", "double", "bool", "uint", "type", "indexOf", "lastIndexOf"),
    }
)
# functions whose result is no larger than what they are given
_SAME: Final = frozenset(
    {
        *("orValue", "or", "value", "optional.of", "optional.ofNonZeroValue", "dyn", "_?._", "_[_]", "_[?_]"),
        *("distinct", "sort", "slice", "reverse", "flatten", "first", "last", "min", "max"),
        *("trim", "lowerAscii", "upperAscii", "substring", "charAt", "find"),
    }
)
_NOTHING: Final = object()
_Env = Mapping[str, "Size"]


class Size(msgspec.Struct, frozen=True):
    """An upper bound: of all of a value, of how many elements it has, of the largest of them. `known`: the value itself."""

    total: float
    count: float = 0
    item: "Size | None" = None
    known: Any = None

    @property
    def element(self) -> "Size":
        return self.item or Size(self.total, self.total)


class Sizes:
    """Sizes of plain values, each measured once; for the values of one evaluation, which must outlive this."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._seen: dict[int, Size] = {}

    def value(self, name: str) -> Any:
        return self._values.get(name)

    def of(self, value: Any) -> Size:
        if isinstance(value, str):
            return Size(len(value) + 1, len(value), known=value)
        if not isinstance(value, dict | list):
            return Size(_PLAIN, known=value)
        found = self._seen.get(id(value))
        if found is None:
            inside = [self.of(each) for each in (value.values() if isinstance(value, dict) else value)]
            keys = max(map(len, value), default=0) if isinstance(value, dict) else 0
            total = sum(each.total for each in inside) + len(value) * (keys + 1) + 1
            item = Size(max([keys + 1.0, *(each.total for each in inside)]), max((e.count for e in inside), default=0))
            found = self._seen[id(value)] = Size(total, len(value), item, value)
        return found


class TooMuch(Exception):
    """The bound that was passed."""


class Growth:
    """One expression's tree, taken apart once. `may_grow` is false when it only reads and compares."""

    def __init__(self, tree: bytes) -> None:
        calls = cel_ast.uses(tree).calls - _JUDGING - (_SAME - {"flatten"})
        self.may_grow = bool(calls) or any(LOOP in node for node in cel_ast.nodes_of(tree))
        self._root = _node(fields_of(fields_of(tree)[2][0])[cel_ast.ROOT][0]) if self.may_grow else None

    def check(self, sizes: Sizes) -> None:
        """Raise TooMuch when the expression could make more than LIMIT characters of these values."""
        if self._root is not None:
            _Estimating(sizes).size(self._root, {})


_Node = tuple[Any, ...]  # its kind by cel_ast's number, and what it needs


class _Estimating:
    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._made = 0.0

    def size(self, node: _Node, env: _Env) -> Size:
        match node[0]:
            case 3:
                return self._sizes.of(node[1])
            case 4:
                return env[node[1]] if node[1] in env else self._sizes.of(self._sizes.value(node[1]))
            case 5:
                known = self._known(node, env)  # only what is read is measured
                return self._field(self.size(node[1], env), node[2]) if known is _NOTHING else self._sizes.of(known)
            case 6:
                return self._made_of(self._call(node[1], [self.size(each, env) for each in node[2]]))
            case 7:
                inside = [self.size(each, env) for each in node[1]]
                return self._made_of(_gathered(inside))
            case 8:
                return self._made_of(_gathered([self.size(each, env) for each in node[1]]))
            case _:
                return self._loop(node, env)

    def _known(self, node: _Node, env: _Env) -> Any:
        """Return the value a chain of fields of a bound name is, _NOTHING for all else."""
        if node[0] == IDENT:
            return _NOTHING if node[1] in env else self._sizes.value(node[1])
        inside = self._known(node[1], env) if node[0] == SELECT else _NOTHING
        return inside.get(node[2]) if isinstance(inside, dict) else _NOTHING

    def _made_of(self, size: Size) -> Size:
        self._made += size.total
        if self._made > LIMIT:
            raise TooMuch
        return size

    def _field(self, of: Size, key: Any) -> Size:
        known = of.known
        if isinstance(known, dict) and isinstance(key, str):
            return self._sizes.of(known.get(key))
        if isinstance(known, list) and isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(known):
            return self._sizes.of(known[key])
        return of.element

    def _call(self, name: str, given: list[Size]) -> Size:
        total = sum(each.total for each in given)
        if name in _JUDGING:
            return Size(_PLAIN)
        if name in ("_?._", "_[_]", "_[?_]") and len(given) == 2:
            return self._field(given[0], given[1].known)
        if name in _SAME:
            return Size(total, max((each.count for each in given), default=0), _largest(given))
        if name == "_+_":
            return Size(total, sum(each.count for each in given), _largest(given))
        if name == "_?_:_":
            return max(given[1:], key=lambda each: each.total) if given[1:] else Size(_PLAIN)
        if name == "replace" and len(given) >= 3:
            text, old, new = given[:3]
            times = (text.total + 1) / max(1, len(old.known) if isinstance(old.known, str) else 1)
            return _text(text.total + times * new.total)
        if name == "join":
            return _text(given[0].total + given[0].count * (given[1].total if len(given) > 1 else 0))
        if name == "split":
            return Size(total + given[0].count, given[0].count + 1, Size(given[0].total, given[0].count))
        if name == "lists.range" or name.endswith("Range"):
            known = given[0].known if given else None
            count = known if isinstance(known, int) and 0 <= known <= RANGE else RANGE
            return Size(count * _PLAIN, count, Size(_PLAIN))
        return Size(total * 8 + 64, total, None)  # escaping a character makes six of it at most

    def _loop(self, node: _Node, env: _Env) -> Size:
        _, over, start, condition, step, result, variables, accumulator = node
        items, first = self.size(over, env), self.size(start, env)
        inside = {**env, **dict.fromkeys(variables, items.element), accumulator: Size(0)}
        self.size(condition, inside)
        grown = self.size(step, inside)  # every macro only adds to what it has gathered
        held = first
        if items.count:
            item = max((each for each in (first.item, grown.item) if each), key=lambda each: each.total, default=None)
            held = self._made_of(Size(first.total + items.count * grown.total, first.count + items.count, item))
        return self.size(result, {**env, accumulator: held})


def _gathered(inside: list[Size]) -> Size:
    return Size(sum(each.total for each in inside) + len(inside) + 1, len(inside), _largest_of(inside))


def _largest_of(sizes: list[Size]) -> Size | None:
    return max(sizes, key=lambda each: each.total, default=None)


def _largest(sizes: list[Size]) -> Size | None:
    """Return the largest element of any of some lists or maps."""
    return _largest_of([each.element for each in sizes])


def _text(total: float) -> Size:
    return Size(total, total)


def _node(data: bytes) -> _Node:
    """Return a node as a tuple: what estimating needs of it, taken apart once."""
    node = fields_of(data)
    if CONST in node:
        return (CONST, _constant(node[CONST][0]))
    if IDENT in node:
        return (IDENT, cel_ast.identifier(node))
    if SELECT in node:
        select = fields_of(node[SELECT][0])
        return (SELECT, _node(select[1][0]), text_of(select.get(2)))
    if CALL in node:
        call = fields_of(node[CALL][0])
        return (CALL, text_of(call.get(2)), [_node(each) for each in (*call.get(1, ()), *call.get(3, ()))])
    if LOOP in node:
        loop = fields_of(node[LOOP][0])
        variables = [text_of(loop[number]) for number in (1, 8) if number in loop]
        parts = [_node(loop[number][0]) for number in (2, 4, 5, 6, 7)]
        return (LOOP, *parts, variables, text_of(loop.get(3)))
    return (LIST if LIST in node else STRUCT, [_node(each) for each, _ in cel_ast.children(node, frozenset())])


def _constant(data: bytes) -> Any:
    value = fields_of(data)
    if STRING in value:
        return text_of(value[STRING])
    if 7 in value:  # bytes
        return "x" * len(value[7][0])
    return cel_ast.number_of(data, _INT) if data[:1] == bytes([_INT << 3]) else 0.0
