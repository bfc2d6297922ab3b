"""JSON Schema (2020-12) of what people write: documents of every kind, and instances of a blueprint. Pure.

What a schema says is only what an editor can check; `apply` checks it all.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from holdfast_protocol.blueprint.constraints import LIST_TYPE, RULES
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.names import ALIASES, API_VERSION, GROUPS
from holdfast_protocol.blueprint.schema import OPEN
from holdfast_protocol.kinds.table import Kind

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
EXPRESSION: Final[Schema] = {"type": "string", "pattern": r"\$\{"}  # a value that is still to be filled in
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 253}


class Words(msgspec.Struct, frozen=True):
    """Where descriptions come from: of a Struct, and of its fields by their names in Python."""

    of_shape: Callable[[Any], str]
    of_fields: Callable[[Any], Mapping[str, str]]


def document_schema(kind: Kind, words: Words) -> Schema:
    """Return the schema of a kind's documents: a resource as a site gets it."""
    refs, parts = shape_schemas([kind.shape], words)
    frame: Schema = {
        "apiVersion": {"const": kind.api_version}
        if kind.kubernetes
        else _described({"type": "string"}, f"the author's choice, such as {kind.api_version}"),
        "kind": {"const": kind.name},
        "metadata": metadata_schema(),
    }
    if kind.whole:
        shape = parts.pop(refs[0]["$ref"].rpartition("/")[2])
        properties = {**shape["properties"], **frame}
        return _document(kind.name, properties, ["apiVersion", "kind", "metadata"], parts, shape.get("description", ""))
    root = parts[refs[0]["$ref"].rpartition("/")[2]]
    needed = ["apiVersion", "kind", "metadata", *(["spec"] if root.get("required") else [])]
    return _document(kind.name, {**frame, "spec": refs[0]}, needed, parts, "")


def object_schema(name: str, api_version: str, spec: type[Any], words: Words) -> Schema:
    """Return the schema of documents of one of Holdfast's own kinds, whose spec has this shape."""
    refs, parts = shape_schemas([spec], words)
    frame = {"apiVersion": {"const": api_version}, "kind": {"const": name}, "metadata": metadata_schema()}
    return _document(
        name, {**frame, "spec": refs[0]}, ["apiVersion", "kind", "metadata", "spec"], parts, words.of_shape(spec)
    )


def blueprint_schema(spec: type[Any], kinds: Iterable[Kind], words: Words) -> Schema:
    """Return the schema of blueprints: in templates of known kinds any value may be an expression instead."""
    known = list(kinds)
    schema = object_schema("Blueprint", API_VERSION, spec, words)
    schema["properties"]["apiVersion"] = {"enum": sorted({API_VERSION, *ALIASES})}
    refs, parts = shape_schemas([each.shape for each in known], words)
    # of two sets of parts one name may be two things: those of kinds are called Template.NAME
    cases = []
    for kind, ref in zip(known, refs, strict=True):
        inside = _template_ref(ref)
        then = inside if kind.whole else {"properties": {"spec": _or_expression(inside)}}
        cases.append({"if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]}, "then": then})
    metadata = metadata_schema()
    frame = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": _described({"type": "string"}, f"known: {', '.join(each.name for each in known)}"),
            "metadata": metadata,
        },
        "required": ["apiVersion", "kind", "metadata"],
        "allOf": cases,
    }
    resource = schema["$defs"]["Resource"]
    described = resource["properties"]["template"].get("description", "")
    resource["properties"]["template"] = _described({"$ref": "#/$defs/Template"}, described)
    schema["$defs"]["Template"] = frame
    schema["$defs"] |= {f"Template.{name}": _fillable(part) for name, part in parts.items()}
    schema["$defs"] = dict(sorted(schema["$defs"].items()))
    return schema


def _template_ref(schema: Schema) -> Schema:
    return {"$ref": schema["$ref"].replace("#/$defs/", "#/$defs/Template.")}


def _fillable(part: Schema) -> Schema:
    """Return a part of a template: every value as it is, or an expression."""
    inside = {key: _or_expression(each) for key, each in part.get("properties", {}).items()}
    return {**part, **({"properties": inside} if inside else {})}


def _or_expression(schema: Schema) -> Schema:
    """Return a schema that also takes an expression, itself or for any value inside."""
    text = {"description": schema["description"]} if "description" in schema else {}
    inside = _with_expressions({key: each for key, each in schema.items() if key not in ("description", "default")})
    if not inside or inside.get("type") == "string":
        return {**inside, **text}
    return {"anyOf": [*inside.get("anyOf", [inside]), EXPRESSION], **text}


def _with_expressions(schema: Schema) -> Schema:
    inside = _template_ref(schema) if "$ref" in schema and "Template." not in schema["$ref"] else dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(inside.get(key), dict):
            inside[key] = _or_expression(inside[key])
    if "anyOf" in inside:
        inside["anyOf"] = [_with_expressions(each) for each in inside["anyOf"]]
    return inside


def instance_schema(definition: Definition, placement: type[Any], words: Words) -> Schema:
    """Return the schema of the instances of a blueprint, placement included."""
    refs, parts = shape_schemas([placement], words)
    spec = from_openapi(definition.schema)
    spec["properties"] = {
        **spec.get("properties", {}),
        "placement": _described(refs[0], "the sites it goes to; without it, none"),
    }
    if "name" not in spec["properties"]:
        spec["properties"]["name"] = _described(_NAME, "the instance's name, where metadata has none")
    spec.setdefault("additionalProperties", False)
    versions = [definition.version, *(f"{group}/{definition.version}" for group in (*GROUPS, definition.group))]
    frame = {
        "apiVersion": {"enum": list(dict.fromkeys(versions))},
        "kind": {"const": definition.kind},
        "metadata": metadata_schema(named=False),
        "spec": spec,
    }
    title = f"An instance of the blueprint {definition.name}"
    return _document(definition.kind, frame, ["apiVersion", "kind", "spec"], parts, title)


def from_openapi(schema: Schema) -> Schema:
    """Return an OpenAPI schema of a blueprint as JSON Schema: closed where it is closed, its rules as words."""
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in schema:
        result["properties"] = {key: from_openapi(each) for key, each in schema["properties"].items()}
        result["additionalProperties"] = False
    elif schema.get("type") == "object" and "additionalProperties" not in schema and not schema.get(OPEN):
        result["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = from_openapi(schema[key])
    if schema.get(LIST_TYPE) == "set":
        result["uniqueItems"] = True
    if rules := [each["rule"] for each in schema.get(RULES, ())]:
        said = f"must hold: {'; '.join(rules)}"
        result["description"] = f"{result['description']} ({said})" if "description" in result else said
    if "required" in result:
        result["required"] = sorted(set(result["required"]))
    return result


def metadata_schema(*, named: bool = True) -> Schema:
    properties: Schema = {
        "name": _described(_NAME, "lower-case letters, digits, inner hyphens and dots"),
        "namespace": _NAME,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    }
    return {"type": "object", "properties": properties, **({"required": ["name"]} if named else {})}


def shape_schemas(shapes: list[type[Any]], words: Words) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a reference for each Struct, and the schemas they refer to, all fields described."""
    refs, parts = msgspec.json.schema_components(shapes, ref_template="#/$defs/{name}")
    for shape in structs_of(shapes):
        part = parts.get(shape.__name__)
        if part is None:  # two modules have a Struct of this name: msgspec says the longer one
            part = parts[f"{shape.__module__}.{shape.__name__}"]
        _describe(part, shape, words)
    return [dict(each) for each in refs], {name: _tidied(part) for name, part in parts.items()}


def _describe(part: Schema, shape: type[Any], words: Words) -> None:
    part.pop("title", None)
    part.pop("description", None)
    if text := words.of_shape(shape):
        part["description"] = text
    said = words.of_fields(shape)
    for field in msgspec.structs.fields(shape):
        if field.name in said:
            part["properties"][field.encode_name] = _described(part["properties"][field.encode_name], said[field.name])


def structs_of(shapes: Iterable[type[Any]]) -> list[type[Any]]:
    """Return every Struct the shapes are made of."""
    found: dict[type[Any], None] = {}
    stack: list[inspect.Type] = list(inspect.multi_type_info(shapes))
    while stack:
        info = stack.pop()
        if isinstance(info, inspect.StructType):
            if info.cls not in found:
                found[info.cls] = None
                stack += [field.type for field in info.fields]
        elif isinstance(info, inspect.UnionType):
            stack += info.types
        elif isinstance(info, inspect.DictType):
            stack.append(info.value_type)
        elif isinstance(info, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType):
            stack.append(info.item_type)
    return list(found)


def _tidied(value: Any) -> Any:
    """Return a schema without what only Python needs: null beside a value, choices in several lists, empty lists."""
    if isinstance(value, list):
        return [_tidied(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _tidied(each) for key, each in value.items() if (key, each) != ("required", [])}
    choices = plain.get("anyOf")
    if isinstance(choices, list):
        choices = [each for each in choices if each != {"type": "null"}]
        words = [each for each in choices if set(each) == {"enum"}]
        if len(words) > 1:
            merged = {"enum": [word for each in words for word in each["enum"]]}
            choices = [merged, *(each for each in choices if each not in words)]
        del plain["anyOf"]
        plain = {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **plain}
    if plain.get("default", 0) is None:
        del plain["default"]
    return plain


def _described(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text}


def _document(title: str, properties: Schema, required: list[str], parts: dict[str, Schema], text: str) -> Schema:
    schema: Schema = {
        "$schema": DIALECT,
        "title": title,
        **({"description": text} if text else {}),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    used = _used(properties, parts)
    return {**schema, **({"$defs": used} if used else {})}


def _used(value: Any, parts: dict[str, Schema]) -> dict[str, Schema]:
    """Return the parts a schema refers to, directly or through others."""
    found: dict[str, Schema] = {}
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            name = str(each.get("$ref", "")).removeprefix("#/$defs/")
            if name in parts and name not in found:
                found[name] = parts[name]
                stack.append(parts[name])
            stack += each.values()
        elif isinstance(each, list):
            stack += each
    return dict(sorted(found.items()))
