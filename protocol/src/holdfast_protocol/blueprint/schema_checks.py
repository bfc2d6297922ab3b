"""What a schema must hold beyond its form: defaults that fit, lists whose keys exist."""

from typing import Final

from holdfast_protocol.blueprint.constraints import LIST_KEYS, LIST_TYPE
from holdfast_protocol.blueprint.documents import Path, path_text
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.schema import Schema, children
from holdfast_protocol.blueprint.values import defaulted, pruned, violations

_PLAIN: Final = frozenset({"string", "integer", "number", "boolean"})


def check_schema(schema: Schema, problems: Problems, path: Path) -> None:
    """Add what Kubernetes would refuse of an OpenAPI schema made by `schema.open_api`."""
    stack: list[tuple[Schema, Path]] = [(schema, path)]
    seen: set[int] = set()
    while stack:
        each, place = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if each.get("default") is not None:
            _check_default(each, problems, place)
        if each.get(LIST_TYPE) in ("set", "map"):
            _check_list(each, problems, place)
        properties = each.get("properties", {})
        stack.extend((inside, (*place, key)) for key, inside in properties.items())
        stack.extend((inside, place) for inside in children(each)[len(properties) :])


def _check_default(schema: Schema, problems: Problems, path: Path) -> None:
    kept, dropped = pruned(schema["default"], schema)
    for each in dropped:
        problems.add(path, f"the default has a field its type does not know: {path_text(each)}")
    found = violations(defaulted(kept, schema), schema)
    if not kept:  # the rest of {} are defaults of fields, judged there
        found = [each for each in found if each.fault == "Required" and len(each.path) == 1]
    for violation in found:
        where = path_text(violation.path)
        problems.add(path, f"the default does not fit: {f'{where} ' if where else ''}{violation.message}")


def _check_list(schema: Schema, problems: Problems, path: Path) -> None:
    items = schema["items"]
    if schema[LIST_TYPE] == "set":
        if items["type"] not in _PLAIN:
            problems.add(path, f"a set has plain items, not {items['type']}")
        return
    keys = schema.get(LIST_KEYS, ())
    if not keys:
        problems.add(path, "listType=map needs a listMapKey", hint="listType=map listMapKey=name")
    if items["type"] != "object":
        problems.add(path, f"listType=map needs items that are objects, not {items['type']}")
        return
    for key in keys:
        inside = items.get("properties", {}).get(key)
        if inside is None:
            problems.add(path, f"listMapKey {key[:80]!r} is no field of the items")
        elif inside["type"] not in _PLAIN:
            problems.add(path, f"listMapKey {key[:80]!r} is a {inside['type']}, not a plain value")
        elif key not in items.get("required", ()) and inside.get("default") is None:
            problems.add(path, f"listMapKey {key[:80]!r} must be required or have a default")
