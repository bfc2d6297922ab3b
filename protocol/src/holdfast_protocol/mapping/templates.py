"""Templates of a rule: `${}` with CEL over topic, payload, received, and with `each` over item and key.

What only walks to a value, `${payload.a[0].b}` or `${payload.?unit}`, is read without CEL: at a thousandth of a second for
a hundred messages, the expression library would be the slowest part of the way. Everything else goes through its one door.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from holdfast_protocol.errors import UnsupportedError, WireError
from holdfast_protocol.mapping.values import Unfit

if TYPE_CHECKING:
    from holdfast_protocol.blueprint.cel import Environment, Expression

MAX_TEMPLATE: Final = 2_048  # characters
Scope = Mapping[str, Any]
_ROOTS: Final = ("topic", "payload", "received", "item", "key")
_PATH: Final = re.compile(r"\s*([a-z]+)((?:\.\??[A-Za-z_][A-Za-z0-9_]*|\[[0-9]{1,6}\]|\[\"[^\"\\]*\"\])*)\s*")
_STEP: Final = re.compile(r"\.(\??)([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]|\[\"([^\"]*)\"\]")
_RESERVED: Final = frozenset({"in", "true", "false", "null", "size", "has"})


class Template:
    """A template ready to be filled. `roots`: the names it reads; none: it is the same for every message."""

    __slots__ = ("_fill", "is_cel", "kind", "place", "roots", "source")

    def __init__(
        self, source: str, place: str, fill: Callable[[Scope], Any], roots: frozenset[str], kind: str, *, is_cel: bool
    ) -> None:
        self.source = source
        self.place = place
        self.roots = roots
        self.kind = kind  # its static type as CEL writes it; dyn: only the message says
        self.is_cel = is_cel
        self._fill = fill

    def fill(self, scope: Scope) -> Any:
        """Return its value for one message. Raises Unfit that names the place."""
        try:
            return self._fill(scope)
        except Unfit as unfit:
            unfit.place = unfit.place or self.place
            raise


class Names:
    """What the templates of one rule may name: the levels of its topic, and whether there are items."""

    def __init__(self, levels: Sequence[str], *, items: bool, lines: bool) -> None:
        self.levels = frozenset(levels)
        self.roots = ("topic", "payload", "received", *(("item", "key") if items else ()))
        self._lines = lines
        self._environment: Environment | None = None

    def environment(self) -> "Environment":
        """Return the environment of the expression library; raises UnsupportedError `NoExpressions`."""
        if self._environment is None:
            try:
                from holdfast_protocol.blueprint.cel import Environment
            except ImportError as error:
                hint = "write plain templates: ${payload.a.b}"
                said = f"this machine cannot evaluate expressions: {error}"
                raise UnsupportedError(said, reason="NoExpressions", hint=hint) from error
            text = {"type": "string"}
            topic = {"type": "object", "properties": dict.fromkeys(sorted(self.levels), text)}
            schemas: dict[str, Any] = {"topic": topic, "received": {"type": "integer"}}
            if self._lines:
                schemas["payload"] = {"type": "object", "additionalProperties": text}
            open_names = [each for each in self.roots if each not in schemas]
            self._environment = Environment(schemas, open_names)
        return self._environment


def template(source: str, names: Names, place: str) -> Template:
    """Return a template, checked. Raises WireError InvalidSpec naming `place`, UnsupportedError `NoExpressions`."""
    if len(source) > MAX_TEMPLATE:
        raise _invalid(place, f"{len(source)} characters, the limit is {MAX_TEMPLATE}")
    if "${" not in source:
        return Template(source, place, lambda _: source, frozenset(), "string", is_cel=False)
    from holdfast_protocol.blueprint.expressions import Part, ScanError, scan

    try:
        text = scan(source)
    except ScanError as error:
        raise _invalid(place, str(error), "a literal ${ is written $${") from None
    if text.kind == "literal":
        literal = "".join(str(piece) for piece in text.pieces)
        return Template(source, place, lambda _: literal, frozenset(), "string", is_cel=False)
    whole = text.kind == "expression"
    found = [
        piece if isinstance(piece, str) else _part(piece.source, names, place, text=not whole) for piece in text.pieces
    ]
    parts = [each for each in found if isinstance(each, _Part)]
    assert len(parts) == sum(isinstance(piece, Part) for piece in text.pieces)
    roots = frozenset[str]().union(*(part.roots for part in parts))
    is_cel = any(part.is_cel for part in parts)
    if whole:
        return Template(source, place, parts[0].fill, roots, parts[0].kind, is_cel=is_cel)
    return Template(source, place, _joining(found), roots, "string", is_cel=is_cel)


class _Part:
    __slots__ = ("fill", "is_cel", "kind", "roots")

    def __init__(self, fill: Callable[[Scope], Any], roots: frozenset[str], kind: str, *, is_cel: bool) -> None:
        self.fill = fill
        self.roots = roots
        self.kind = kind
        self.is_cel = is_cel


def _part(source: str, names: Names, place: str, *, text: bool) -> _Part:
    walk = _PATH.fullmatch(source)
    if walk is not None and walk[1] in _ROOTS and not _RESERVED.intersection(re.findall(r"\.([a-z]+)", walk[2])):
        return _walked(source, walk[1], walk[2], names, place)
    from holdfast_protocol.blueprint.cel import ExpressionError

    try:
        expression = names.environment().compile(source)
    except ExpressionError as error:
        raise _invalid(place, f"{error.message} in ${{{source[:200]}}}", error.hint) from None
    if text and expression.type not in ("string", "dyn"):
        said = f"${{{source[:200]}}} is {expression.type}, and this takes text"
        raise _invalid(place, said, f"${{string({source.strip()[:80]})}}")
    roots = frozenset(root for root in names.roots if re.search(rf"\b{root}\b", source))
    return _Part(_evaluating(expression), roots, expression.type, is_cel=True)


def _walked(source: str, root: str, rest: str, names: Names, place: str) -> _Part:
    if root not in names.roots:
        raise _invalid(
            place, f"${{{source.strip()}}}: there is no {root} without each", f"names: {_listed(names.roots)}"
        )
    steps: list[tuple[str | int, bool]] = []
    for optional, field, index, quoted in _STEP.findall(rest):
        steps.append((int(index) if index else field or quoted, bool(optional)))
    if root == "topic" and (len(steps) != 1 or steps[0][0] not in names.levels):
        raise _invalid(
            place, f"${{{source.strip()}}}: the topic has {_listed(sorted(names.levels)) or 'no named levels'}"
        )
    if root == "received" and steps:
        raise _invalid(place, "received is a number: milliseconds since 1970")
    kind = "string" if root == "topic" else "int" if root == "received" else "dyn"
    return _Part(_walking(source.strip(), root, tuple(steps)), frozenset({root}), kind, is_cel=False)


def _walking(source: str, root: str, steps: tuple[tuple[str | int, bool], ...]) -> Callable[[Scope], Any]:
    if not steps:
        return lambda scope: scope[root]

    def absent() -> Unfit:
        return Unfit("NoValue", f"the message has no {source}")

    if len(steps) == 1 and isinstance(steps[0][0], str) and not steps[0][1]:
        key = steps[0][0]

        def one(scope: Scope) -> Any:
            try:
                return scope[root][key]
            except (KeyError, TypeError):
                raise absent() from None

        return one

    def walk(scope: Scope) -> Any:
        value = scope[root]
        for key, optional in steps:
            if isinstance(value, dict) and key in value:
                value = value[key]
                continue
            if isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
                continue
            if optional:
                return None
            raise absent()
        return value

    return walk


def _evaluating(expression: "Expression") -> Callable[[Scope], Any]:
    from holdfast_protocol.blueprint.cel import OMIT, ExpressionError

    is_double = expression.type == "double"

    def evaluate(scope: Scope) -> Any:
        try:
            value = expression.evaluate(expression.bind(scope))
        except ExpressionError as error:
            raise Unfit("NoValue" if error.absent else "BadExpression", error.message[:200]) from None
        if value is OMIT:
            return None
        return float(value) if is_double else value

    return evaluate


def _joining(pieces: Sequence[str | _Part]) -> Callable[[Scope], str]:
    def join(scope: Scope) -> str:
        found = []
        for piece in pieces:
            value = piece if isinstance(piece, str) else piece.fill(scope)
            if not isinstance(value, str):
                raise Unfit("BadValue", f"a part of a text is {type(value).__name__}; write ${{string(…)}}")
            found.append(value)
        return "".join(found)

    return join


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _invalid(place: str, message: str, hint: str = "") -> WireError:
    return WireError(f"{place}: {message}", reason="InvalidSpec", hint=hint)
