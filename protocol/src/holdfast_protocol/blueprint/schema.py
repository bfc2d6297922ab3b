"""SimpleSchema to OpenAPI: what an instance of a blueprint may say.

Same results as kro's transformer, except that defaults which are no JSON are refused here and not one step later.
"""

from typing import Any, Final

from holdfast_protocol.blueprint.constraints import apply_markers
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.markers import parse_markers
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.schema_types import ATOMS, FieldType, parse_field

Schema = dict[str, Any]

MAX_TYPES: Final = 100
MAX_FIELDS: Final = 5_000  # of the whole schema, custom types written out
MAX_DEPTH: Final = 32
OPEN: Final = "x-kubernetes-preserve-unknown-fields"


def open_api(spec: Any, types: Any, problems: Problems, path: Path) -> Schema:
    """Return the OpenAPI schema of `spec`; what is wrong goes to `problems` below `path` + "spec" or "types".

    The result is only meaningful when no problem was added. Schemas of custom types are shared, not copied: read only.
    """
    builder = _Builder(types, problems, (*path, "types"))
    builder.resolve_all()
    if not isinstance(spec, dict):
        problems.add((*path, "spec"), "must be a map of fields")
        return {"type": "object"}
    schema = builder.fields(spec, (*path, "spec"))
    if _too_large(schema):
        problems.add((*path, "spec"), f"more than {MAX_FIELDS} fields or deeper than {MAX_DEPTH}, types written out")
        return {"type": "object"}
    return schema


def _too_large(schema: Schema) -> bool:
    count = 0
    stack = [(schema, 0)]
    while stack:
        each, depth = stack.pop()
        count += 1
        if count > MAX_FIELDS or depth > MAX_DEPTH:
            return True
        stack.extend((child, depth + 1) for child in children(each))
    return False


def children(schema: Schema) -> list[Schema]:
    """Return the schemas directly inside one: properties, items, values."""
    inside = list(schema.get("properties", {}).values())
    inside += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return inside


class _Builder:
    """`_resolved` holds each custom type's schema and whether its direct use is required; `_open` those being built."""

    def __init__(self, types: Any, problems: Problems, path: Path) -> None:
        self._problems = problems
        self._path = path
        self._types: dict[str, Any] = {}
        self._resolved: dict[str, tuple[Schema, int]] = {}
        self._open: list[str] = []
        if types is None:
            return
        if not isinstance(types, dict):
            problems.add(path, "must be a map of custom types")
        elif len(types) > MAX_TYPES:
            problems.add(path, f"more than {MAX_TYPES} custom types")
        else:
            self._types = types

    def resolve_all(self) -> None:
        for name in self._types:
            self._custom(name)

    def fields(self, value: dict[str, Any], path: Path) -> Schema:
        schema: Schema = {"type": "object"}
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for key, each in value.items():
            properties[key], times = self._field(each, (*path, key))
            required += [key] * times  # an alias and a field that both say so count twice, as in kro
        if properties:
            schema["properties"] = properties
        if required:
            schema["required"] = sorted(required)
        elif any("default" in each for each in properties.values()):
            schema["default"] = {}
        return schema

    def _field(self, value: Any, path: Path) -> tuple[Schema, int]:
        """Return a field's schema and how often it is said to be required."""
        if isinstance(value, dict):
            return self.fields(value, path), 0
        if not isinstance(value, str):
            self._problems.add(
                path,
                "a field is a type as text, or a map of fields",
                hint="string, integer, boolean, float, object, []T, map[string]T or a custom type",
            )
            return {"type": "object"}, 0
        try:
            kind, text = parse_field(value)
            markers = parse_markers(text) if text is not None else []
        except ValueError as error:
            self._problems.add(path, str(error))
            return {"type": "object"}, 0
        schema, times = self._schema(kind, path)
        flaws: list[str] = []
        schema, said = apply_markers(schema, markers, flaws)
        for flaw in flaws:
            self._problems.add(path, flaw)
        return schema, times + said

    def _schema(self, kind: FieldType, path: Path) -> tuple[Schema, int]:
        times = 0
        if not kind.is_custom:
            schema: Schema = {"type": ATOMS[kind.name]}
            if kind.name == "object":
                schema[OPEN] = True
        elif kind.name in self._types:
            schema, times = self._custom(kind.name)
        else:
            known = sorted({*ATOMS, *self._types})
            self._problems.add(path, f"unknown type {kind.name[:80]!r}; known: {', '.join(known)}")
            schema = {"type": "object"}
        for wrap in reversed(kind.wraps):
            schema = (
                {"type": "array", "items": schema}
                if wrap == "list"
                else {"type": "object", "additionalProperties": schema}
            )
        return schema, 0 if kind.wraps else times

    def _custom(self, name: str) -> tuple[Schema, int]:
        if name in self._resolved:
            return self._resolved[name]
        if name in self._open:
            cycle = " -> ".join([*self._open[self._open.index(name) :], name])
            self._problems.add((*self._path, name), f"types refer to each other in a circle: {cycle}", at_key=True)
            return {"type": "object"}, 0
        self._open.append(name)
        built = self._field(self._types[name], (*self._path, name))
        self._open.pop()
        self._resolved[name] = built
        return built
