"""A node's configuration as the hub made it, with what only the site knows filled in."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any


def completed(kit: str, **sections: Mapping[str, Any] | str) -> str:
    """Return the kit's `edge.toml` with these values and sections added or replaced, key by key."""
    values = tomllib.loads(kit)
    for name, value in sections.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, Mapping) else value
    return "\n".join(_lines(values, "")) + "\n"


def _lines(table: Mapping[str, Any], path: str) -> list[str]:
    """Return the lines of a TOML table: plain values first, then the tables in it."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not _is_table(value)]
    for key, value in table.items():
        inner = f"{path}{key}"
        if isinstance(value, Mapping):
            plain += ["", f"[{inner}]", *_lines(value, f"{inner}.")]
        elif _is_table(value):
            for each in value:
                plain += ["", f"[[{inner}]]", *_lines(each, f"{inner}.")]
    return plain


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))
