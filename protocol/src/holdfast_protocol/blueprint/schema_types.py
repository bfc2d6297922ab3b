"""Types of SimpleSchema fields: `string`, `[]T`, `map[string]T` and names of custom types."""

from typing import Final

import msgspec

MAX_NESTING: Final = 16
ATOMS: Final = {"string": "string", "integer": "integer", "boolean": "boolean", "float": "number", "object": "object"}


class FieldType(msgspec.Struct, frozen=True):
    """`wraps` from the outside in, each "list" or "map"; `name` is an atom's or a custom type's."""

    name: str
    wraps: tuple[str, ...] = ()

    @property
    def is_custom(self) -> bool:
        return self.name not in ATOMS


def parse_type(text: str) -> FieldType:
    """Return the type a text names, whether or not it is declared. ValueError says what is wrong."""
    wraps: list[str] = []
    rest = text.strip()
    while True:
        if rest.startswith("[]"):
            wraps.append("list")
            rest = rest[2:].strip()
            if not rest:
                raise ValueError("a list needs the type of its items: []string")
        elif rest.startswith("map["):
            key, closed, rest = rest[4:].partition("]")
            if not closed or key != "string":
                raise ValueError("a map is written map[string]TYPE; its keys are text")
            wraps.append("map")
            rest = rest.strip()
            if not rest:
                raise ValueError("a map needs the type of its values: map[string]string")
        else:
            break
        if len(wraps) > MAX_NESTING:
            raise ValueError(f"lists and maps are nested deeper than {MAX_NESTING}")
    if not rest:
        raise ValueError("the type is empty")
    return FieldType(rest, tuple(wraps))


def parse_field(text: str) -> tuple[FieldType, str | None]:
    """Return a field's type and its marker text, None without a `|`."""
    before, bar, after = text.partition("|")
    return parse_type(before), after if bar else None
