"""As much of JSON Schema 2020-12 as our own schemas use, to try them on documents. An unknown keyword is a mistake."""

import re
from typing import Any

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
SILENT = {"$schema", "$defs", "title", "description", "default", "then"}


def errors(root: dict[str, Any], value: Any, schema: dict[str, Any] | None = None, path: str = "$") -> list[str]:
    """Return what of a value does not fit a schema."""
    schema = root if schema is None else schema
    found: list[str] = []
    for word, said in schema.items():
        if word not in SILENT:
            found += _judge(root, value, schema, path, word, said)
    return found


def _judge(root: dict[str, Any], value: Any, schema: dict[str, Any], path: str, word: str, said: Any) -> list[str]:
    is_map, is_list, is_text = isinstance(value, dict), isinstance(value, list), isinstance(value, str)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match word:
        case "$ref":
            return errors(root, value, root["$defs"][said.removeprefix("#/$defs/")], path)
        case "type":
            right = {"integer": is_number and value == int(value), "number": is_number}.get(said)
            right = isinstance(value, KINDS[said]) if right is None else right
            return [] if right else [f"{path}: no {said}"]
        case "const":
            return [] if value == said else [f"{path}: not {said}"]
        case "enum":
            return [] if value in said else [f"{path}: none of {said}"]
        case "properties":
            return [
                each
                for key in said
                if is_map and key in value
                for each in errors(root, value[key], said[key], f"{path}.{key}")
            ]
        case "required":
            return [f"{path}: {key} is missing" for key in said if is_map and key not in value]
        case "additionalProperties":
            more = set(value) - set(schema.get("properties", ())) if is_map else set()
            if said is False:
                return [f"{path}: unknown {key}" for key in sorted(more)]
            return [
                each for key in more if said is not True for each in errors(root, value[key], said, f"{path}.{key}")
            ]
        case "items":
            return [
                each
                for n, item in enumerate(value if is_list else ())
                for each in errors(root, item, said, f"{path}[{n}]")
            ]
        case "anyOf":
            return [] if any(not errors(root, value, each, path) for each in said) else [f"{path}: fits none"]
        case "allOf":
            return [each for part in said for each in errors(root, value, part, path)]
        case "if":
            return errors(root, value, schema["then"], path) if not errors(root, value, said, path) else []
        case "pattern":
            return [] if not is_text or re.search(said, value) else [f"{path}: not {said}"]
        case "minLength" | "maxLength" if is_text:
            return [] if (len(value) >= said) == (word == "minLength") or len(value) == said else [f"{path}: {word}"]
        case "minItems" | "maxItems" if is_list:
            return [] if (len(value) >= said) == (word == "minItems") or len(value) == said else [f"{path}: {word}"]
        case "minimum" | "maximum" if is_number:
            return [] if (value >= said) == (word == "minimum") or value == said else [f"{path}: {word}"]
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "minimum" | "maximum":
            return []
        case "uniqueItems":
            return (
                [] if not is_list or all(each not in value[:n] for n, each in enumerate(value)) else [f"{path}: twice"]
            )
    raise AssertionError(f"{path}: the schema says {word}, which this reader does not know")
