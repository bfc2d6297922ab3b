"""Strategic merge: a patch laid over a resource as Kubernetes does it.

Maps merge key by key, and null takes a key away. Lists that Kubernetes merges by a key of their items (containers, env,
ports, volumes and the like) are merged so in Kubernetes' own kinds, in the order they had, new items at the end; every
other list is replaced. `$patch: replace`, `delete` and `merge` mean what they mean there.
"""

from collections.abc import Iterator
from typing import Any, Final

from holdfast_protocol.blueprint import names
from holdfast_protocol.wire.flaws import Flaw, Path

DIRECTIVE: Final = "$patch"
_DIRECTIVES: Final = ("replace", "delete", "merge")
_KEYS: Final = {  # a list's field: the key its items are told apart by
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "secrets": "name",
}


def merged(body: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return a resource with a patch laid over it; neither is changed. The patch has no `merge_flaws`."""
    kind = "" if names.is_ours(str(body.get("apiVersion", ""))) else str(body.get("kind", ""))
    result = _map(body, patch, kind)
    return result if isinstance(result, dict) else {}


def merge_flaws(patch: Any, path: Path = ()) -> Iterator[Flaw]:
    """Yield what in a patch has no meaning here."""
    if isinstance(patch, list):
        for index, each in enumerate(patch):
            yield from merge_flaws(each, (*path, index))
    elif isinstance(patch, dict):
        for key, each in patch.items():
            if key == DIRECTIVE:
                if each not in _DIRECTIVES:
                    yield Flaw((*path, key), f"{DIRECTIVE} is one of {', '.join(_DIRECTIVES)}")
            elif key.startswith("$"):
                yield Flaw((*path, key), f"{key[:80]} is not understood here", f"known: {DIRECTIVE}")
            else:
                yield from merge_flaws(each, (*path, key))


def _map(value: Any, patch: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the merged map; None when the patch says to delete it. `kind` is empty for a kind that is not Kubernetes'."""
    directive = patch.get(DIRECTIVE)
    if directive == "delete":
        return None
    result = dict(value) if isinstance(value, dict) and directive != "replace" else {}
    for key, each in patch.items():
        if key == DIRECTIVE:
            continue
        if each is None:
            result.pop(key, None)
        elif isinstance(each, dict):
            inside = _map(result.get(key), each, kind)
            if inside is None:
                result.pop(key, None)
            else:
                result[key] = inside
        elif isinstance(each, list):
            result[key] = _list(result.get(key), each, key, kind)
        else:
            result[key] = each
    return result


def _list(value: Any, patch: list[Any], field: str, kind: str) -> list[Any]:
    maps = all(isinstance(each, dict) for each in patch)
    replaces = maps and any(each.get(DIRECTIVE) == "replace" and len(each) == 1 for each in patch)
    key = _merge_key(field, patch, kind) if kind and maps and not replaces else ""
    if not key or not isinstance(value, list):
        plain = [each for each in patch if each != {DIRECTIVE: "replace"}]
        clean = [_map({}, each, kind) if isinstance(each, dict) else each for each in plain]
        return [each for each in clean if each is not None]
    result: list[Any] = list(value)
    for each in patch:
        at = next((n for n, held in enumerate(result) if isinstance(held, dict) and _same(held, each, key)), None)
        made = _map({} if at is None else result[at], each, kind)
        if at is None:
            result += [] if made is None else [made]
        elif made is None:
            del result[at]
        else:
            result[at] = made
    return result


def _merge_key(field: str, patch: list[dict[str, Any]], kind: str) -> str:
    """Return the key that tells a list's items apart; empty where the list is replaced."""
    ports = "port" if kind == "Service" else "containerPort"
    key = ports if field == "ports" else _KEYS.get(field, "")
    return key if key and all(key in each for each in patch) else ""


def _same(held: dict[str, Any], patch: dict[str, Any], key: str) -> bool:
    if held.get(key) != patch[key]:
        return False
    # One number may be published over TCP and over UDP: a patch that names the protocol means that one.
    return "protocol" not in patch or held.get("protocol", "TCP") == patch["protocol"]
