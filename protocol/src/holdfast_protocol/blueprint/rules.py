"""Validation rules: the CEL conditions a schema puts on its values, and when they run.

A rule runs only for a value that is there; one that names `oldSelf` only when the value was there before, so setting or
removing an immutable field passes. Items of a list have a before only in lists of type map, by their keys.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint.cel import Environment, Expression, ExpressionError
from holdfast_protocol.blueprint.constraints import LIST_KEYS, LIST_TYPE, RULES
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.schema import Schema, children
from holdfast_protocol.blueprint.values import ABSENT, Violation, typed

ATOMS: Final = frozenset({"string", "integer", "number", "boolean"})


class Rule(msgspec.Struct, frozen=True):
    """One compiled rule of a schema."""

    expression: Expression
    environment: Environment
    message: str

    @property
    def needs_old(self) -> bool:
        return "oldSelf" in self.expression.uses.names


Rules = Mapping[int, tuple[Rule, ...]]  # by the id() of the schema they belong to, which the definition keeps alive


def compile_rules(schema: Schema, problems: Problems, path: Path) -> Rules:
    """Return every rule inside a schema, compiled; those that cannot be go to `problems`."""
    found: dict[int, tuple[Rule, ...]] = {}
    stack: list[tuple[Schema, Path]] = [(schema, path)]
    while stack:
        each, place = stack.pop()
        if RULES in each and id(each) not in found:
            found[id(each)] = tuple(_compiled(each, problems, place))
        properties = each.get("properties", {})
        stack.extend((inside, (*place, key)) for key, inside in properties.items())
        stack.extend((inside, place) for inside in children(each)[len(properties) :])
    return found


def _compiled(schema: Schema, problems: Problems, path: Path) -> Iterator[Rule]:
    kind = schema["type"]
    environment = _atom_environment(kind) if kind in ATOMS else _environment(schema)
    for rule in schema[RULES]:
        try:
            expression = environment.compile(rule["rule"])
        except ExpressionError as error:
            problems.add(path, f"validation {rule['rule'][:200]!r}: {error.message}", hint=error.hint)
            continue
        if expression.omits:
            problems.add(path, f"validation {rule['rule'][:200]!r}: omit() is for values in a template")
            continue
        if expression.type != "bool":
            problems.add(path, f"validation {rule['rule'][:200]!r} must be true or false, and is {expression.type}")
            continue
        yield Rule(expression, environment, f"{rule['message']}: {rule['rule'][:200]}")


@lru_cache(maxsize=8)
def _atom_environment(kind: str) -> Environment:
    return _environment({"type": kind})


def _environment(schema: Schema) -> Environment:
    return Environment({"self": schema, "oldSelf": schema})


def broken(value: Any, old: Any, schema: Schema, rules: Rules, path: Path = ()) -> Iterator[Violation]:
    """Yield what breaks a rule in a valid value; `old` is ABSENT when there was nothing before."""
    if not rules:
        return
    for rule in rules.get(id(schema), ()):
        if rule.needs_old and old is ABSENT:
            continue
        names = {"self": typed(value, schema)}
        if rule.needs_old:
            names["oldSelf"] = typed(old, schema)
        try:
            holds = rule.expression.evaluate(rule.environment.bind(names))
        except ExpressionError as error:
            yield Violation(path, "Invalid", f"{rule.message} ({error.message})")
        else:
            if holds is not True:
                yield Violation(path, "Invalid", rule.message)
    if isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        for key, each in value.items():
            inside = properties.get(key, values)
            if inside is not None:
                before = old.get(key, ABSENT) if isinstance(old, dict) else ABSENT
                yield from broken(each, before, inside, rules, (*path, key))
    elif isinstance(value, list) and "items" in schema:
        before_of = _items_by_key(old, schema)
        for index, each in enumerate(value):
            before = before_of.get(_key(each, schema), ABSENT) if before_of else ABSENT
            yield from broken(each, before, schema["items"], rules, (*path, index))


def _items_by_key(old: Any, schema: Schema) -> dict[tuple[Any, ...], Any]:
    if schema.get(LIST_TYPE) != "map" or not isinstance(old, list):
        return {}
    return {_key(each, schema): each for each in old if isinstance(each, dict)}


def _key(item: Any, schema: Schema) -> tuple[Any, ...]:
    return tuple(str(item.get(key)) for key in schema.get(LIST_KEYS, ())) if isinstance(item, dict) else ()
