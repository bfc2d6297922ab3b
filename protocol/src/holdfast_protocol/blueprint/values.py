"""Values against a schema: unknown fields dropped, defaults filled in, everything wrong listed.

The order and the results are those of the Kubernetes API server: prune, default, validate. Rules in CEL come after, in
`rules.py`. Nothing here changes its input.
"""

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.blueprint.constraints import LIST_KEYS, LIST_TYPE, compiled_pattern
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.schema import OPEN, Schema

Fault = Literal["Type", "Invalid", "Required", "NotSupported", "Duplicate", "TooLong", "TooMany"]
ABSENT: Final = object()
MAX_VIOLATIONS: Final = 100
BLOCKING: Final = frozenset({"Type", "Required", "TooLong", "TooMany"})  # rules would not know what they look at


class Violation(msgspec.Struct, frozen=True):
    """One way a value does not fit its schema."""

    path: Path
    fault: Fault
    message: str


def pruned(value: Any, schema: Schema, path: Path = ()) -> tuple[Any, list[Path]]:
    """Return a copy of `value` without fields its schema does not know, and the paths of those."""
    dropped: list[Path] = []
    return _prune(value, schema, path, dropped), dropped


def _prune(value: Any, schema: Schema, path: Path, dropped: list[Path]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_prune(each, items, (*path, index), dropped) for index, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if schema.get(OPEN):
        return copy.deepcopy(value)
    properties, values = schema.get("properties", {}), schema.get("additionalProperties")
    kept = {}
    for key, each in value.items():
        inside = properties.get(key, values)
        if inside is None:
            dropped.append((*path, key))
        else:
            kept[key] = _prune(each, inside, (*path, key), dropped)
    return kept


def defaulted(value: Any, schema: Schema) -> Any:
    """Return a copy of `value` with defaults where it has nothing, and nulls without one removed."""
    if isinstance(value, list):
        items = schema.get("items", {})
        return [defaulted(_or_default(each, items), items) for each in value]
    if not isinstance(value, dict) or schema.get(OPEN):
        return value
    properties, values = schema.get("properties", {}), schema.get("additionalProperties")
    result = {}
    for key, each in value.items():
        inside = properties.get(key, values) or {}
        filled = _or_default(each, inside)
        if filled is not None:
            result[key] = defaulted(filled, inside)
    for key, inside in properties.items():
        if key not in result and inside.get("default") is not None:
            result[key] = defaulted(copy.deepcopy(inside["default"]), inside)
    return result


def _or_default(value: Any, schema: Schema) -> Any:
    return copy.deepcopy(schema.get("default")) if value is None else value


def typed(value: Any, schema: Schema) -> Any:
    """Return a valid value with its numbers as its schema has them: 2.0 an integer, 3 a float."""
    if isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {key: typed(each, properties.get(key, values)) for key, each in value.items()}
    if isinstance(value, list):
        items = schema.get("items", {})
        return [typed(each, items) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        kind = schema.get("type")
        return float(value) if kind == "number" else int(value) if kind == "integer" else value
    return value


def violations(value: Any, schema: Schema, path: Path = ()) -> list[Violation]:
    """Return everything wrong with a pruned, defaulted value, at most MAX_VIOLATIONS."""
    found: list[Violation] = []
    for each in _violations(value, schema, path):
        found.append(each)
        if len(found) == MAX_VIOLATIONS:
            break
    return found


def _violations(value: Any, schema: Schema, path: Path) -> Iterator[Violation]:
    expected = schema.get("type")
    actual = _type_of(value)
    allowed = schema.get("enum")
    if allowed is not None and not any(_equal(value, each) for each in allowed):
        yield Violation(path, "NotSupported", f"must be one of {', '.join(map(str, allowed))}")
    if expected and actual != expected and not (expected == "number" and actual == "integer"):
        yield Violation(path, "Type", f"must be of type {expected}, not {actual}")
        return
    if isinstance(value, str):
        yield from _text(value, schema, path)
    elif actual in ("integer", "number"):
        yield from _number(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, dict):
        yield from _map(value, schema, path)


def _text(value: str, schema: Schema, path: Path) -> Iterator[Violation]:
    if len(value) > schema.get("maxLength", len(value)):
        yield Violation(path, "TooLong", f"may have at most {schema['maxLength']} characters")
    elif len(value) < schema.get("minLength", 0):
        yield Violation(path, "Invalid", f"must have at least {schema['minLength']} characters")
    elif "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield Violation(path, "Invalid", f"must match {schema['pattern']}")


def _number(value: float, schema: Schema, path: Path) -> Iterator[Violation]:
    if "maximum" in schema and value > schema["maximum"]:
        yield Violation(path, "Invalid", f"must be at most {schema['maximum']}")
    if "minimum" in schema and value < schema["minimum"]:
        yield Violation(path, "Invalid", f"must be at least {schema['minimum']}")


def _list(value: list[Any], schema: Schema, path: Path) -> Iterator[Violation]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Violation(path, "TooMany", f"may have at most {schema['maxItems']} items")
    if len(value) < schema.get("minItems", 0):
        yield Violation(path, "Invalid", f"must have at least {schema['minItems']} items")
    items = schema.get("items", {})
    for index, each in enumerate(value):
        yield from _violations(each, items, (*path, index))
    if schema.get(LIST_TYPE) in ("set", "map"):
        yield from _duplicates(value, schema, path)


def _duplicates(value: list[Any], schema: Schema, path: Path) -> Iterator[Violation]:
    keys = schema.get(LIST_KEYS)
    seen: set[bytes] = set()
    for index, each in enumerate(value):
        if keys and not isinstance(each, dict):
            continue
        identity = [each.get(key) for key in keys] if keys else each
        mark = msgspec.json.encode(_comparable(identity), order="deterministic")
        if mark in seen:
            what = ", ".join(f"{key}={each.get(key)}" for key in keys) if keys else str(each)
            yield Violation((*path, index), "Duplicate", f"stands twice: {what[:200]}")
        seen.add(mark)


def _map(value: dict[str, Any], schema: Schema, path: Path) -> Iterator[Violation]:
    for key in dict.fromkeys(schema.get("required", ())):
        if key not in value:
            yield Violation((*path, key), "Required", "is required")
    properties, values = schema.get("properties", {}), schema.get("additionalProperties")
    for key, each in value.items():
        inside = properties.get(key, values)
        if inside is not None:
            yield from _violations(each, inside, (*path, key))


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _comparable(value: Any) -> Any:
    """Return a value whose JSON is equal when it is equal: 2.0 and 2 are one number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    return value


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    return compiled_pattern(pattern)
