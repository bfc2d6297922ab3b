"""Templates filled in with values: the bodies of resources, one or many from each template."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.cel import OMIT, Bindings, Expression, ExpressionError, Omitted
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.template import Field, Template

MAX_BYTES: Final = 1024 * 1024  # of a body as JSON

Values = Mapping[Path, Any]


class Failure(msgspec.Struct, frozen=True):
    """One expression without a value. `path` is where it stands, below the resource's entry."""

    path: Path
    message: str
    hint: str = ""
    absent: bool = False  # it only met data that is not there
    names: frozenset[str] = frozenset()  # that it reads


class Known(msgspec.Struct):
    """Results of expressions on the schema alone, which many fields share; for one evaluation."""

    values: dict[str, Any] = {}

    def evaluate(self, expression: Expression, bindings: Bindings) -> Any:
        if not expression.uses.names <= {"schema"}:
            return expression.evaluate(bindings)
        if expression.source not in self.values:
            value = expression.evaluate(bindings)
            if isinstance(value, dict | list):
                return value  # not shared: each body owns its own
            self.values[expression.source] = value
        return self.values[expression.source]


def field_values(
    fields: Iterable[Field], bindings: Bindings, known: Known, failures: list[Failure], below: Path = ()
) -> dict[Path, Any]:
    """Return the values of fields by path; what has none is added to `failures`, its path below `below`."""
    found: dict[Path, Any] = {}
    left = MAX_BYTES
    for field in fields:
        try:
            value = _value(field, bindings, known)
            left -= len(value) if isinstance(value, str) else _size(value)
            if left < 0:
                raise ExpressionError(f"with this value the resource is larger than {MAX_BYTES} bytes")
            found[field.path] = value
        except ExpressionError as error:
            read = frozenset(name for each in field.expressions for name in each.uses.names)
            failures.append(Failure((*below, *field.path), error.message, error.hint, error.absent, read))
            if left < 0:
                break
    return found


def filled(template: Template, own: Values, shared: Values | None = None) -> dict[str, Any]:
    """Return a fresh body of a template with the values put in; what omit() stands at goes away.

    `own` values become part of the body; `shared` ones are copied, for many bodies use them.
    """
    body = template.body()
    for path, value in own.items():
        _put(body, path, value)
    for path, value in (shared or {}).items():
        _put(body, path, copy.deepcopy(value) if isinstance(value, dict | list) else value)
    return _kept(body) if template.omits else body


def _value(field: Field, bindings: Bindings, known: Known) -> Any:
    if field.is_whole:
        return known.evaluate(field.expressions[0], bindings)
    texts = []
    for piece in field.pieces:
        text = piece if isinstance(piece, str) else known.evaluate(piece, bindings)
        if not isinstance(text, str):
            source = piece.source if isinstance(piece, Expression) else ""
            raise ExpressionError(
                f"${{{source[:200]}}} is {_type_name(text)}, and a text takes only text", hint="string(x)"
            )
        if field.one_line and isinstance(piece, Expression):
            _check_one_line(text, piece)
        texts.append(text)
    return "".join(texts)


def _check_one_line(text: str, expression: Expression) -> None:
    if names.has_control(text) or "\n" in text or text.endswith("\\"):
        raise ExpressionError(
            f"${{{expression.source[:200]}}} would add lines to the unit",
            hint="values put into a unit are one line each, without control characters or a backslash at the end",
        )


def _put(body: dict[str, Any], path: Path, value: Any) -> None:
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(each) for key, each in value.items() if each is not OMIT}
    if isinstance(value, list):
        return [_kept(each) for each in value if each is not OMIT]
    return value


def _size(value: Any) -> int:
    """Return about how many bytes a value is as JSON."""
    return len(msgspec.json.encode(value)) if isinstance(value, dict | list) else 8


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    named = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "a map",
        Omitted: "left out",
    }
    return named[type(value)]
