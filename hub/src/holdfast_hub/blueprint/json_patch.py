"""JSON Patch (RFC 6902) over resources: a list of operations, all of which must succeed."""

from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.flaws import Flaw, Path

MAX_OPERATIONS: Final = 500
_OPERATIONS: Final = {  # operation: what it needs besides path
    "add": "value",
    "remove": "",
    "replace": "value",
    "move": "from",
    "copy": "from",
    "test": "value",
}


def operation_flaws(operations: list[Any]) -> tuple[Flaw, ...]:
    """Return everything wrong with a list of operations as written."""
    found: list[Flaw] = []
    if len(operations) > MAX_OPERATIONS:
        found.append(Flaw((), f"more than {MAX_OPERATIONS} operations"))
        return tuple(found)
    for index, each in enumerate(operations):
        found += _flaws(each, (index,))
    return tuple(found)


def _flaws(operation: Any, path: Path) -> list[Flaw]:
    if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        return [Flaw(path, "an operation is a map with op and path", f"op is one of {known}")]
    need = _OPERATIONS[operation["op"]]
    known_keys = {"op", "path", *([need] if need else [])}
    found = [
        Flaw((*path, key), f"{operation['op']} takes no {key[:80]!r}", f"known: {', '.join(sorted(known_keys))}")
        for key in operation
        if key not in known_keys
    ]
    if need == "value" and "value" not in operation:
        found.append(Flaw(path, f"{operation['op']} needs a value"))
    for key in ("path", "from") if need == "from" else ("path",):
        pointer = operation.get(key)
        if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
            found.append(Flaw((*path, key) if key in operation else path, f"{key} is a pointer: /spec/replicas"))
    return found


def patched(body: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a resource with the operations done; neither is changed. Raises WireError `PatchFailed`, saying which."""
    root: Any = msgspec.json.decode(msgspec.json.encode(body))
    for index, each in enumerate(operations):
        try:
            root = _done(root, each)
        except _NotThereError as error:
            said = f"operation {index} ({each['op']} {each['path'][:200]}): {error}"
            raise WireError(said, reason="PatchFailed") from None
    if not isinstance(root, dict):
        raise WireError("the operations leave no object", reason="PatchFailed")
    return root


class _NotThereError(Exception):
    """A pointer leads nowhere, or a test fails."""


def _done(root: Any, operation: dict[str, Any]) -> Any:
    steps = _steps(operation["path"])
    match operation["op"]:
        case "add":
            return _added(root, steps, _fresh(operation["value"]))
        case "remove":
            return _removed(root, steps)[0]
        case "replace":
            _read(root, steps)
            return _added(_removed(root, steps)[0], steps, _fresh(operation["value"]))
        case "move":
            source = _steps(operation["from"])
            if source == steps[: len(source)] and source != steps:
                raise _NotThereError("a value cannot move into itself")
            root, value = _removed(root, source)
            return _added(root, steps, value)
        case "copy":
            return _added(root, steps, _fresh(_read(root, _steps(operation["from"]))))
        case _:
            found = _read(root, steps)
            if not _equal(found, operation["value"]):
                raise _NotThereError("the value there is another")
            return root


def _fresh(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, and 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _steps(pointer: str) -> list[str]:
    return [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]]


def _read(root: Any, steps: list[str]) -> Any:
    for step in steps:
        root = root[_key(root, step)]
    return root


def _key(container: Any, step: str) -> Any:
    """Return the key or index a step names in what is there. Raises _NotThereError."""
    if isinstance(container, dict):
        if step in container:
            return step
        raise _NotThereError(f"there is no {step[:80]!r}")
    if isinstance(container, list):
        plain = step.isascii() and step.isdigit() and len(step) < 10 and (step == "0" or step[0] != "0")
        if plain and int(step) < len(container):
            return int(step)
        raise _NotThereError(f"a list of {len(container)} has no item {step[:80]!r}")
    raise _NotThereError(f"{step[:80]!r} is below a plain value")


def _added(root: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    container, last = _read(root, steps[:-1]), steps[-1]
    if isinstance(container, dict):
        container[last] = value
    elif isinstance(container, list):
        end = last in ("-", str(len(container)))
        container.insert(len(container) if end else _key(container, last), value)
    else:
        raise _NotThereError(f"{last[:80]!r} is below a plain value")
    return root


def _removed(root: Any, steps: list[str]) -> tuple[Any, Any]:
    if not steps:
        return None, root
    container = _read(root, steps[:-1])
    return root, container.pop(_key(container, steps[-1]))
