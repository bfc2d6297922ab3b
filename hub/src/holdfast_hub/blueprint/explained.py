"""What a schema says of one field, for people: type, whether it must be there, default, choices, what is inside. Pure."""

import difflib
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import NotFoundError

Schema = dict[str, Any]
MAX_DEPTH: Final = 24
_WORDS: Final = {"object": "map"}


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field. `fields` are those inside, of the items where it is a list, of the values where it is a map."""

    path: str
    type: str
    required: bool = False
    default: Any = msgspec.UNSET
    choices: tuple[Any, ...] = ()
    limits: tuple[str, ...] = ()  # minimum 1, pattern ^a$
    description: str = ""
    fields: "tuple[Explained, ...]" = ()


def explained(schema: Schema, path: tuple[str, ...], *, recursive: bool = False) -> Explained:
    """Return the field at `path` (() is the document) with what is directly inside, or with everything.

    A step into a list is the field of its items, into a map of free keys any key. Raises NotFoundError with near names.
    """
    at, required, name = schema, True, ""
    for index, step in enumerate(path):
        fields = _fields(schema, at)
        if step in fields:
            needed = step in _required(schema, at)
            at, required = fields[step], needed
        elif (value := _free(schema, at)) is not None:
            at, required = value, False
        else:
            where = ".".join(path[:index]) or schema.get("title", "")
            near = difflib.get_close_matches(step, fields, 3, 0.5)
            hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(fields)) or 'nothing'}"
            raise NotFoundError(f"{where} has no field {step[:80]!r}", resource=".".join(path)[:200], hint=hint)
        name = ".".join(path[: index + 1])
    return _explained(schema, at, name, required, MAX_DEPTH if recursive else 1)


def _explained(root: Schema, schema: Schema, path: str, required: bool, depth: int) -> Explained:
    inside: tuple[Explained, ...] = ()
    if depth:
        needed = _required(root, schema)
        inside = tuple(
            _explained(root, each, name, name in needed, depth - 1) for name, each in _fields(root, schema).items()
        )
    flat = _resolved(root, schema)
    choices = (flat["const"],) if "const" in flat else tuple(flat.get("enum", ()))
    return Explained(
        path=path,
        type=_type(root, schema),
        required=required,
        default=flat.get("default", msgspec.UNSET),
        choices=choices,
        limits=tuple(
            f"{key} {flat[key]}"
            for key in ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")
            if key in flat
        ),
        description=str(schema.get("description") or flat.get("description", "")),
        fields=inside,
    )


def _resolved(root: Schema, schema: Schema) -> Schema:
    """Return a schema with its reference followed; what stands beside the reference wins."""
    if "$ref" not in schema:
        return schema
    part: Schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**part, **{key: each for key, each in schema.items() if key != "$ref"}}


def _choices(root: Schema, schema: Schema) -> list[Schema]:
    flat = _resolved(root, schema)
    return [_resolved(root, each) for each in flat["anyOf"]] if "anyOf" in flat else [flat]


def _inner(root: Schema, schema: Schema) -> list[Schema]:
    """Return the maps a value may be or hold as items."""
    found = []
    for each in _choices(root, schema):
        if "items" in each:
            found += _inner(root, each["items"])
        elif isinstance(each.get("additionalProperties"), dict) and "properties" not in each:
            found += _inner(root, each["additionalProperties"])
        else:
            found.append(each)
    return found


def _fields(root: Schema, schema: Schema) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for each in _inner(root, schema):
        found |= each.get("properties", {})
    return found


def _required(root: Schema, schema: Schema) -> set[str]:
    return {name for each in _inner(root, schema) for name in each.get("required", ())}


def _free(root: Schema, schema: Schema) -> Schema | None:
    """Return the schema of a map's values, None for what is no map of free keys."""
    for each in _choices(root, schema):
        values = each.get("additionalProperties")
        if isinstance(values, dict):
            return values
        if each.get("type") == "object" and "properties" not in each and values is not False:
            return {}
    return None


def _type(root: Schema, schema: Schema) -> str:
    words = dict.fromkeys(_word(root, each) for each in _choices(root, schema))
    return " or ".join(words)


def _word(root: Schema, schema: Schema) -> str:
    if "items" in schema:
        return f"[]{_type(root, schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
        return f"map[string]{_type(root, schema['additionalProperties'])}"
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number"}
    if values:
        return " or ".join(dict.fromkeys(kinds.get(type(each), "any") for each in values))
    kind = schema.get("type", "any")
    return str(_WORDS.get(kind, kind))
