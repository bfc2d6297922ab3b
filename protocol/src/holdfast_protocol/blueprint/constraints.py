"""Markers applied to a schema: what each does, and to which types."""

import re
from collections.abc import Callable
from typing import Any, Final

import re2

from holdfast_protocol.blueprint.markers import boolean
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict

Schema = dict[str, Any]

LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_KEYS: Final = "x-kubernetes-list-map-keys"
RULES: Final = "x-kubernetes-validations"
MAX_RULES: Final = 20
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,19}")
_JSON_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_BOOLEANS: Final = frozenset({"true", "false", "0", "1"})  # those of kro's that are JSON


def apply_markers(base: Schema, markers: list[tuple[str, str]], flaws: list[str]) -> tuple[Schema, int]:
    """Return `base` with the markers on top, and how often they say required. What is wrong goes to `flaws`."""
    if not markers:
        return base, 0
    schema = {key: list(value) if isinstance(value, list) else value for key, value in base.items()}
    required = 0
    for key, value in markers:
        try:
            if key == "required":
                required += boolean(value, key)
            else:
                _APPLY[key](schema, key, value)
        except ValueError as error:
            flaws.append(str(error))
    if LIST_KEYS in schema and schema.get(LIST_TYPE) != "map":
        flaws.append("listMapKey needs listType=map on the same field")
    return schema, required


def compiled_pattern(pattern: str) -> Any:
    """Return an RE2 pattern, whose `search` takes linear time. ValueError when it is not RE2."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"pattern is not RE2 (no look-around, no back references): {text}") from None


def _json(text: str) -> Any:
    try:
        data = text.encode()
        return strict.parse(data, limit=len(data))
    except (WireError, UnicodeEncodeError) as error:
        raise ValueError(f"default: {error}") from None


def _default(schema: Schema, _: str, value: str) -> None:
    kind = schema["type"]
    if kind == "string":
        schema["default"] = _json(f'"{value}"')
    elif kind == "integer" and not _JSON_INTEGER.fullmatch(value):
        raise ValueError(f"default of an integer must be one, not {value[:80]!r}")
    elif kind == "boolean" and value not in _BOOLEANS:
        raise ValueError(f"default of a boolean must be true or false, not {value[:80]!r}")
    else:
        found = _json(value)
        if kind == "number" and (isinstance(found, bool) or not isinstance(found, int | float)):
            raise ValueError(f"default of a float must be a number, not {value[:80]!r}")
        schema["default"] = found


def _description(schema: Schema, key: str, value: str) -> None:
    schema.pop(key, None)
    if value:
        schema[key] = value


def _bound(schema: Schema, key: str, value: str) -> None:
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"{key} must be a number, not {value[:80]!r}")
    number = float(value)
    schema[key] = int(number) if number.is_integer() and abs(number) < 2**53 else number


def _enum(schema: Schema, key: str, value: str) -> None:
    if schema["type"] not in ("string", "integer"):
        raise ValueError(f"enum is for string and integer, not for {schema['type']}")
    parts = [part.strip() for part in value.split(",")]
    if "" in parts:
        raise ValueError("enum has an empty value")
    if schema["type"] == "integer":
        for part in parts:
            _integer(key, part)
        schema[key] = [int(part) for part in parts]
    else:
        schema[key] = parts


def _pattern(schema: Schema, key: str, value: str) -> None:
    if not value:
        raise ValueError("pattern is empty")
    _only(schema, key, "string")
    compiled_pattern(value)
    schema[key] = value


def _length(schema: Schema, key: str, value: str) -> None:
    _only(schema, key, "string")
    schema[key] = _integer(key, value)


def _items(schema: Schema, key: str, value: str) -> None:
    _only(schema, key, "array")
    schema[key] = _integer(key, value)


def _unique(schema: Schema, key: str, value: str) -> None:
    wanted = boolean(value, key)
    _only(schema, key, "array")
    if wanted:
        _set_list_type(schema, "set")


def _list_type(schema: Schema, key: str, value: str) -> None:
    _only(schema, key, "array")
    if value not in ("atomic", "set", "map"):
        raise ValueError(f"listType must be atomic, set or map, not {value[:80]!r}")
    _set_list_type(schema, value)


def _set_list_type(schema: Schema, value: str) -> None:
    if schema.setdefault(LIST_TYPE, value) != value:
        raise ValueError(f"listType is {schema[LIST_TYPE]} and {value} at once")


def _list_key(schema: Schema, key: str, value: str) -> None:
    _only(schema, key, "array")
    keys = schema.setdefault(LIST_KEYS, [])
    if value in keys:
        raise ValueError(f"listMapKey {value[:80]} stands twice")
    keys.append(value)


def _immutable(schema: Schema, key: str, value: str) -> None:
    if boolean(value, key):
        _add_rule(schema, "self == oldSelf", "field is immutable")


def _validation(schema: Schema, _: str, value: str) -> None:
    if not value.strip():
        raise ValueError("validation is empty")
    _add_rule(schema, value, "validation failed")


def _add_rule(schema: Schema, rule: str, message: str) -> None:
    rules = schema.setdefault(RULES, [])
    if len(rules) >= MAX_RULES:
        raise ValueError(f"more than {MAX_RULES} rules")
    rules.append({"rule": rule, "message": message})


def _only(schema: Schema, key: str, kind: str) -> None:
    if schema["type"] != kind:
        raise ValueError(f"{key} is for {kind}, not for {schema['type']}")


def _integer(key: str, value: str) -> int:
    if not _INTEGER.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"{key} must be a whole number, not {value[:80]!r}")
    return int(value)


_APPLY: Final[dict[str, Callable[[Schema, str, str], None]]] = {
    "default": _default,
    "description": _description,
    "minimum": _bound,
    "maximum": _bound,
    "enum": _enum,
    "pattern": _pattern,
    "minLength": _length,
    "maxLength": _length,
    "minItems": _items,
    "maxItems": _items,
    "uniqueItems": _unique,
    "listType": _list_type,
    "listMapKey": _list_key,
    "immutable": _immutable,
    "validation": _validation,
}
