"""The one door to the CEL library: compile, check, references, evaluate.

An expression is checked with `schema` typed by its blueprint's schema, so a misspelt field fails at definition time;
it is evaluated in a second environment on plain values, where absent data can be told from wrong data.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final

import msgspec
from cel_expr_python import cel
from google.protobuf.message import Message

from holdfast_protocol.blueprint import (
    addresses,
    cel_ast,
    cel_size,
    cel_text,
    cel_types,
    conditions,
    functions,
    quantities,
    sequences,
    urls,
    versions,
)
from holdfast_protocol.blueprint.schema import OPEN, Schema
from holdfast_protocol.errors import HoldfastError

MAX_SOURCE: Final = 16 * 1024  # characters of one expression
RUNTIME: Final = "runtime"  # kro's name for what makes and reads conditions
_EXTENSIONS: Final = ("two-var-comprehensions", "lists", "strings", "optional", "bindings", "encoders")
_ANY: Final = ("string", "int", "uint", "double", "bool", "bytes", "null", "list", "map")
_MERGED: Final = ("string", "indexOf", "lastIndexOf")  # the library's own, which gain our overloads
_ERROR: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ((?:.|\n(?! \||ERROR:))*)")
_RANGE: Final = re.compile(cel_text.SKIPPED + r"|(?P<range>\blists\s*\.\s*range\b)", re.DOTALL)
_ABSENT: Final = ("NOT_FOUND:", "UNKNOWN: Index error", "UNKNOWN: No value with name")
_TYPES: Final[dict[str, Any]] = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "uint": cel.Type.UINT,
    "double": cel.Type.DOUBLE,
    "bool": cel.Type.BOOL,
    "bytes": cel.Type.BYTES,
    "null": cel.Type.NULL,
    "dyn": cel.Type.DYN,
    "list": cel.Type.List(cel.Type.DYN),
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "duration": cel.Type.DURATION,
    "timestamp": cel.Type.TIMESTAMP,
    **{name: cel.Type(full) for name, full in cel_types.VALUES.items()},
}
_ALL: Final = tuple(
    each
    for module in (functions, conditions, quantities, versions, addresses, sequences, urls)
    for each in module.FUNCTIONS
)
_TAKING_MAPS: Final = frozenset(each.name for each in _ALL if not {"map", "list", "any"}.isdisjoint(each.parameters))
_ATOMS: Final = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}


class ExpressionError(HoldfastError):
    """An expression that cannot be compiled or evaluated.

    `offset` is the character of its source, -1 unknown; `absent` says that it only met data that is not there.
    """

    def __init__(self, message: str, *, offset: int = -1, absent: bool = False, hint: str = "") -> None:
        super().__init__(message, reason="AbsentData" if absent else "BadExpression", hint=hint)
        self.offset = offset
        self.absent = absent


class Omitted(Enum):
    """What omit() evaluates to: the key or element it stands at goes away."""

    OMIT = "omit()"


OMIT: Final = Omitted.OMIT


class Bindings(msgspec.Struct, frozen=True):
    """Values converted once, for many expressions of one environment, and what they measure."""

    activation: Any
    sizes: cel_size.Sizes


class Expression:
    """A compiled expression. `type` is its static type as CEL writes it: string, list(int), optional_type(dyn)."""

    def __init__(self, source: str, checked: Any, runnable: Any, running: Any) -> None:
        self.source = source
        self.tree: bytes = checked.serialize()  # for cel_ast
        self.type = _type_name(checked.return_type())
        self.uses = cel_ast.uses(self.tree)
        self.omits = "omit" in self.uses.calls
        self._growth = cel_size.Growth(self.tree)
        self._runnable = runnable
        self._running = running

    @property
    def is_optional(self) -> bool:
        return self.type.startswith("optional_type(")

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list(")

    def bind(self, values: Mapping[str, Any]) -> Bindings:
        """Return values for the names used; lists, maps, text, numbers, booleans and None only."""
        return Bindings(self._running.Activation(dict(values)), cel_size.Sizes(dict(values)))

    def evaluate(self, bindings: Bindings) -> Any:
        """Return the value as JSON has it; none of an optional is None. Raises ExpressionError."""
        try:
            self._growth.check(bindings.sizes)
        except cel_size.TooMuch:
            raise ExpressionError(
                f"of these values it may make more than {cel_size.LIMIT} characters", hint="repeat and join less text"
            ) from None
        try:
            result = self._runnable.eval(bindings.activation)
            if result.type() == cel.Type.ERROR:
                text = str(result.value())
                raise ExpressionError(_runtime_text(text), absent=text.startswith(_ABSENT))
        except RuntimeError as error:
            raise ExpressionError(_runtime_text(str(error))) from None
        value = _json(result)
        if self.is_optional:
            value = value[0] if value else None
        return value


class Environment:
    """What expressions may name: typed `schemas` and untyped `variables`, together with the functions of kro."""

    def __init__(self, schemas: Mapping[str, Schema], variables: Iterable[str] = (), *, runtime: bool = False) -> None:
        self.names = frozenset({*schemas, *variables, *([RUNTIME] if runtime else ())})
        open_names = dict.fromkeys(variables, cel.Type.DYN)
        pool = cel_types.pool_of({_message(name): schema for name, schema in schemas.items() if _is_message(schema)})
        typed = {name: _declared(name, schema) for name, schema in schemas.items()}
        if runtime:
            typed[RUNTIME] = _TYPES["runtime"]
        self._make(pool, {**open_names, **typed})

    def with_items(self, lists: Mapping[str, Expression]) -> "Environment":
        """Return an environment that also knows, by each name, an item of a list."""
        extended = Environment.__new__(Environment)
        extended.names = self.names.union(lists)
        extended._make(self._pool, {**self._types, **{name: _item_type(each.type) for name, each in lists.items()}})
        return extended

    def _make(self, pool: Any, types: dict[str, Any]) -> None:
        self._pool, self._types = pool, types
        self._checking = cel.NewEnv(pool, config=_config(), variables=types, **_functions())
        self._running = _running(self.names)

    def compile(self, source: str) -> Expression:
        """Return the expression, checked. Raises ExpressionError with the place in its source."""
        if len(source) > MAX_SOURCE:
            raise ExpressionError(f"an expression of {len(source)} characters, the limit is {MAX_SOURCE}")
        if not source.strip():
            raise ExpressionError("the expression is empty")
        try:
            checked = self._checking.compile(source)
            optional = _type_name(checked.return_type()).startswith("optional_type(")
            runnable = self._running.compile(_bounded(f"[?({source}\n)]" if optional else source))
        except RuntimeError as error:
            raise self._compile_error(source, str(error)) from None
        expression = Expression(source, checked, runnable, self._running)
        if "lists.range" in expression.uses.calls and "lists.range" in cel_ast.uses(runnable.serialize()).calls:
            raise ExpressionError("lists.range is written plainly: lists.range(n)")
        if "cel.@mapInsert" in expression.uses.calls:
            raise ExpressionError("transformMap and transformMapEntry are not available here")
        if expression.uses.loose_optionals and not expression.uses.calls.isdisjoint(_TAKING_MAPS):
            # The library ends the process when it hands our functions a map with an optional in it.
            raise ExpressionError("an optional cannot be passed on in this expression", hint="x.orValue(...)")
        return expression

    def bind(self, values: Mapping[str, Any]) -> Bindings:
        """Return values for the names used; lists, maps, text, numbers, booleans and None only."""
        return Bindings(self._running.Activation(dict(values)), cel_size.Sizes(dict(values)))

    def _compile_error(self, source: str, text: str) -> ExpressionError:
        found = _ERROR.search(text)
        if found is None:
            limit = "limit" in text or "Exceeded" in text
            return ExpressionError("the expression is nested too deeply" if limit else text.partition("\n")[0])
        line, column, message = int(found[1]), int(found[2]), found[3].strip()
        offset = -1
        if line > 0 and column > 0:
            lines = source.splitlines(keepends=True)
            offset = min(sum(map(len, lines[: line - 1])) + column - 1, len(source))
        name = re.search(r"undeclared reference to '([^']*)\.", message)
        if name is not None:
            offset -= len(name[1])  # the library points at the last dot of a.b.c
        return ExpressionError(_explained(message), offset=max(offset, -1), hint=self._hint(message))

    def _hint(self, message: str) -> str:
        if "undeclared reference" in message:
            return f"names here: {', '.join(sorted(self.names)[:40])}; a literal ${{ is written $${{"
        if "'_+_' applied to" in message and "string" in message:
            return "text takes only text: string(x)"
        return ""


@lru_cache(maxsize=64)
def _running(names: frozenset[str]) -> Any:
    """Return the library's environment that evaluates: it knows no types, so all with the same names share one."""
    variables = dict.fromkeys(sorted(names), cel.Type.DYN)
    return cel.NewEnv(cel_types.values_pool(), config=_config(), variables=variables, **_functions(running=True))


@cache
def _config() -> Any:
    return cel.NewEnvConfigFromYaml("extensions:\n" + "".join(f"- name: {name}\n" for name in _EXTENSIONS))


@cache
def _functions(*, running: bool = False) -> dict[str, Any]:
    """Return our functions as arguments of an environment."""
    grouped: dict[str, list[Any]] = {}
    for each in (*_ALL, functions.BOUNDED_RANGE) if running else _ALL:
        grouped.setdefault(each.name, []).extend(_overloads(each, running))
    own = [cel.FunctionDecl(name, each) for name, each in grouped.items() if name not in _MERGED]
    merged = [cel.FunctionDecl(name, grouped[name]) for name in _MERGED]
    return {"functions": own, "extensions": [cel.CelExtension("holdfast", merged)]}


def _bounded(source: str) -> str:
    """Return a source that calls our range and not the library's; texts and comments stay as they are."""
    return _RANGE.sub(lambda found: functions.BOUNDED_RANGE.name if found["range"] else found[0], source)


def _overloads(function: functions.Function, running: bool) -> list[Any]:
    # At run time a value with a type of its own is dyn: one overload there serves all such types.
    signatures: list[functions.Signature] = []
    for parameters, result in (not running and function.checked) or ((function.parameters, function.result),):
        # The run time does not match a parameter of type dyn with everything, so "any" is an overload for each type.
        choices: list[tuple[str, ...]] = [()]
        for kind in parameters:
            some = (kind,) if kind != "any" else _ANY[:-3] if function.name in _MERGED else _ANY
            choices = [(*before, each) for before in choices for each in some]
        signatures += [(each, result) for each in choices]
    return [
        cel.Overload(
            f"{function.name}_{'_'.join(kinds)}",
            return_type=cel.Type.DYN if running and result in cel_types.VALUES else _read_type(result),
            parameters=[_read_type(kind) for kind in kinds],
            is_member=function.member,
            impl=function.call if running else None,
        )
        for kinds, result in signatures
    ]


def _message(name: str) -> str:
    return name[0].upper() + name[1:]


def _is_message(schema: Schema) -> bool:
    return schema.get("type") == "object" and "additionalProperties" not in schema and not schema.get(OPEN)


def _declared(name: str, schema: Schema) -> Any:
    kind = schema.get("type", "")
    if kind in _ATOMS:
        return _TYPES[_ATOMS[kind]]
    if kind == "array":
        return cel.Type.List(_element(schema.get("items", {})))
    if _is_message(schema):
        return cel.Type(f"{cel_types.PACKAGE}.{_message(name)}")
    return cel.Type.Map(cel.Type.STRING, _element(schema.get("additionalProperties", {})))


def _element(schema: Schema) -> Any:
    kind = schema.get("type", "")
    return _TYPES[_ATOMS[kind]] if kind in _ATOMS else cel.Type.DYN


def _type_name(kind: Any) -> str:
    name = str(kind.name()).replace("<", "(").replace(">", ")")
    return re.sub(r"\b[A-Z]+\b", lambda found: "null_type" if found[0] == "NULL" else found[0].lower(), name)


def _item_type(name: str) -> Any:
    """Return the type of the items of a list(T)."""
    return _read_type(name[len("list(") : -1])


def _read_type(name: str) -> Any:
    """Return the type CEL writes as `name`; what cannot be declared is dyn."""
    if name.startswith("list("):
        return cel.Type.List(_item_type(name))
    if name.startswith("map(string, "):
        return cel.Type.Map(cel.Type.STRING, _read_type(name[len("map(string, ") : -1]))
    if name in _TYPES:
        return _TYPES[name]
    return cel.Type(name) if name.startswith(f"{cel_types.PACKAGE}.") else cel.Type.DYN


def _explained(message: str) -> str:
    text = re.sub(r"undeclared reference to '([^'.]*).*", r"unknown name '\1'", message)
    text = re.sub(r"undefined field '([^']*)'.*", r"unknown field '\1'", text)
    return re.sub(r"'blueprint\.[^']*'|blueprint\.[\w.]*", "object", text)


def _runtime_text(text: str) -> str:
    status, _, message = text.partition(": ")
    if status == "NOT_FOUND":
        return message.replace("Key not found in map :", "no such field:")
    return message or text


def _json(result: Any) -> Any:
    """Return a result as JSON values with sorted keys; a result's maps come in no fixed order.

    Taken apart level by level: `plain_value` of the library ends the process on an optional inside a map.
    """
    try:
        value = result.value()
    except (TypeError, SystemError):
        raise ExpressionError(
            "an optional inside a list or map is no value of JSON", hint="{?key: x}, [?x] or x.orValue(...)"
        ) from None
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ExpressionError("the number does not fit 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("the result is not a number JSON can carry")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ExpressionError(f"keys of a map must be text, not {type(key).__name__}")
        return {key: _json(value[key]) for key in sorted(value)}
    if isinstance(value, timedelta):
        return functions.go_duration(value)
    if isinstance(value, datetime):
        return functions.rfc3339(value)
    if isinstance(value, bytes | bytearray) and value == functions.OMIT:
        return OMIT
    if isinstance(value, Message) and value.DESCRIPTOR.full_name == cel_types.VALUES["condition"]:
        return cel_types.fields_of(value)
    if isinstance(value, bytes | bytearray):
        raise ExpressionError("the result is bytes", hint="base64.encode(x)")
    raise ExpressionError("the result is no value of JSON")
