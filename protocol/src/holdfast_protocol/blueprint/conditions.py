"""kro's status conditions: `runtime.newCondition({type: ..., status: ...})` and `runtime.condition(obj, "Ready")`.

The keys of newCondition are bare words, which CEL would take for names: they are marked in the source before it is compiled,
and the marks are then only allowed there.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from holdfast_protocol.blueprint import cel_ast, cel_types
from holdfast_protocol.blueprint.cel_text import SKIPPED
from holdfast_protocol.blueprint.functions import Function

STATUSES: Final = ("True", "False", "Unknown")
BUILT_IN: Final = ("InstanceManaged", "GraphResolved", "ResourcesReady", "Ready")  # to be read from `schema`
_KEYS: Final = ("type", "status", "reason", "message")
_MARK: Final = "\x01"
_BARE: Final = re.compile(SKIPPED + r"|(?P<before>[{,]\s*)(?P<key>type|status|reason|message)(?=\s*:)", re.DOTALL)


def marked(source: str) -> str:
    """Return a source with the bare keys of maps as marked texts."""
    return _BARE.sub(lambda found: f'{found["before"]}"\\u0001{found["key"]}"' if found["key"] else found[0], source)


def check_conditions(trees: Mapping[int, bytes]) -> list[tuple[int, str]]:
    """Return what is wrong in the conditions of a blueprint, each with its number; `trees` are Expression.tree."""
    found: list[tuple[int, str]] = []
    types = {number: set(_literal_types(tree)) for number, tree in trees.items()}
    seen: set[str] = set()
    for number in trees:
        found += [(number, f"condition {name!r} is made by another entry too") for name in sorted(types[number] & seen)]
        seen |= types[number]
    for number, tree in trees.items():
        allowed: list[cel_ast.Fields] = []
        for node in cel_ast.nodes_of(tree):
            name, arguments = _runtime_call(node)
            if name == "newCondition" and len(arguments) == 1:
                allowed.append(cel_ast.fields_of(arguments[0]))
                found += [(number, message) for message in _flaws(arguments[0])]
            elif name == "condition" and len(arguments) == 2:
                wanted = cel_ast.literal_text(arguments[1])
                of_schema = cel_ast.identifier(cel_ast.fields_of(arguments[0])) == "schema"
                if of_schema and wanted is not None and wanted not in BUILT_IN:
                    found.append((number, f"schema has no condition {wanted[:80]!r}; it has {', '.join(BUILT_IN)}"))
            elif node not in allowed and any((key or "").startswith(_MARK) for key in _entries(node)):
                found.append((number, "bare keys are for runtime.newCondition alone"))
    return found


def _flaws(argument: bytes) -> list[str]:
    node = cel_ast.fields_of(argument)
    if cel_ast.STRUCT not in node:
        return ["newCondition takes a map written out: {type: ..., status: ...}"]
    entries = _entries(node)
    if not all(key is not None and key.startswith(_MARK) and key[1:] in _KEYS for key in entries):
        return [f"the keys of newCondition are the bare words {', '.join(_KEYS)}"]
    found = ["newCondition has a key twice"] if len(entries) < len(_pairs(node)) else []
    found += [f"newCondition needs {key}" for key in ("type", "status") if _MARK + key not in entries]
    status = entries.get(_MARK + "status")
    if status is not None and status not in STATUSES:
        found.append(f"status must be one of {', '.join(STATUSES)}, not {status[:80]!r}")
    if entries.get(_MARK + "type") == "":
        found.append("type must not be empty")
    return found


def _literal_types(tree: bytes) -> list[str]:
    found = []
    for node in cel_ast.nodes_of(tree):
        name, arguments = _runtime_call(node)
        if name == "newCondition" and len(arguments) == 1:
            kind = _entries(cel_ast.fields_of(arguments[0])).get(_MARK + "type")
            found += [kind] if kind is not None else []
    return found


def _runtime_call(node: cel_ast.Fields) -> tuple[str, list[bytes]]:
    """Return the function and arguments of `runtime.function(...)`; an empty name for any other node."""
    if cel_ast.CALL not in node:
        return "", []
    call = cel_ast.fields_of(node[cel_ast.CALL][0])
    target = call.get(1)
    if not target or cel_ast.identifier(cel_ast.fields_of(target[0])) != "runtime":
        return "", []
    return cel_ast.text_of(call.get(2)), call.get(3, [])


def _entries(node: cel_ast.Fields) -> dict[str | None, str | None]:
    """Return the literal values of a map by their literal keys; None for what is not literal."""
    return dict(_pairs(node))


def _pairs(node: cel_ast.Fields) -> list[tuple[str | None, str | None]]:
    if cel_ast.STRUCT not in node:
        return []
    pairs = []
    for data in cel_ast.fields_of(node[cel_ast.STRUCT][0]).get(2, ()):
        entry = cel_ast.fields_of(data)
        key = cel_ast.literal_text(entry[3][0]) if 3 in entry else None
        pairs.append((key, cel_ast.literal_text(entry[4][0]) if 4 in entry else None))
    return pairs


def _new_condition(_: Any, fields: dict[str, Any]) -> Any:
    plain = {key.removeprefix(_MARK): value for key, value in fields.items()}
    if not all(isinstance(each, str) for each in plain.values()):
        raise ValueError("newCondition: every value must be text")
    if not plain.get("type"):
        raise ValueError("newCondition: type must not be empty")
    if plain.get("status") not in STATUSES:
        raise ValueError(f"newCondition: status must be one of {', '.join(STATUSES)}")
    return cel_types.value_of("condition", **plain)


def _condition(_: Any, value: dict[str, Any], kind: str) -> Any:
    """Return the condition of an object, an empty one when it has none of that type."""
    status = value.get("status", {})
    conditions = status.get("conditions", []) if isinstance(status, dict) else None
    if not isinstance(conditions, list):
        raise ValueError("condition: status.conditions must be a list")  # noqa: TRY004 (an evaluation error)
    for each in conditions:
        if isinstance(each, dict) and each.get("type") == kind:
            fields = {key: each[key] for key in _KEYS if isinstance(each.get(key), str)}
            return cel_types.value_of("condition", **fields)
    return cel_types.value_of("condition")


_NEW: Final = ((("runtime", "map(string, string)"), "condition"),)
_READ: Final = ((("runtime", "dyn", "string"), "condition"),)

FUNCTIONS: Final = (
    Function("newCondition", ("runtime", "map"), "condition", _new_condition, True, _NEW),
    Function("condition", ("runtime", "map", "string"), "condition", _condition, True, _READ),
)
