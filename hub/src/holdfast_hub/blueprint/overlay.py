"""Overlays: patches laid over rendered resources at the sites an Overlay selects, first the general, then the specific.

Overlays go by their `order`, then by name, their patches as written. A patch is a map, merged strategically, or a list of
JSON Patch operations. Who a resource is (apiVersion, kind, name, namespace) no patch may change.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint.json_patch import operation_flaws, patched
from holdfast_hub.blueprint.render import MAX_DEPTH, depth
from holdfast_protocol.blueprint.documents import path_text
from holdfast_protocol.blueprint.filling import MAX_BYTES
from holdfast_protocol.blueprint.merging import merge_flaws, merged
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import table
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.flaws import Flaw, Path
from holdfast_protocol.wire.target import Resource

MAX_PATCHES: Final = 200  # of one overlay
MAX_ORDER: Final = 1_000_000
_TARGET: Final = ("kind", "name", "namespace", "instance", "id")
_IDENTITY: Final = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


class Overlay(msgspec.Struct, frozen=True):
    """One overlay as written, without placement; its patches have no flaws."""

    name: str
    spec: dict[str, Any]

    @property
    def order(self) -> int:
        return int(self.spec.get("order", 0))

    @property
    def patches(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.spec["patches"]
        return found


class Fault(msgspec.Struct, frozen=True):
    """What went wrong with a patch; `resource` is empty when it found nothing to change, which is only a warning."""

    overlay: str
    patch: int
    message: str
    resource: str = ""


def overlay_flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with an Overlay's spec (without placement)."""
    yield from _unknown(spec, ("order", "patches"), ())
    order = spec.get("order", 0)
    if not isinstance(order, int) or isinstance(order, bool) or abs(order) > MAX_ORDER:
        yield Flaw(("order",), f"order is a whole number, at most {MAX_ORDER} from zero")
    patches = spec.get("patches")
    if not isinstance(patches, list) or not 0 < len(patches) <= MAX_PATCHES:
        yield Flaw(("patches",), f"patches is a list of 1 to {MAX_PATCHES} maps with target and patch")
        return
    for index, each in enumerate(patches):
        path: Path = ("patches", index)
        if not isinstance(each, dict):
            yield Flaw(path, "a patch is a map with target and patch")
            continue
        yield from _unknown(each, ("target", "patch"), path)
        yield from _target_flaws(each, path)
        yield from _patch_flaws(each.get("patch"), (*path, "patch"))


def _unknown(value: dict[str, Any], known: Sequence[str], path: Path) -> Iterator[Flaw]:
    hint = f"known: {', '.join(known)}"
    return (Flaw((*path, key), f"unknown field {key[:80]!r}", hint) for key in value if key not in known)


def _target_flaws(patch: dict[str, Any], path: Path) -> Iterator[Flaw]:
    target = patch.get("target")
    if target is None:
        if not _own_target(patch.get("patch")):
            yield Flaw(path, "a patch needs a target", "target: {kind: Deployment, name: web}")
        return
    if not isinstance(target, dict) or not target:
        yield Flaw((*path, "target"), "target is a map with one or more of " + ", ".join(_TARGET))
        return
    yield from _unknown(target, _TARGET, (*path, "target"))
    for key, value in target.items():
        if not isinstance(value, str) or not 0 < len(value) <= 512:
            yield Flaw((*path, "target", key), f"{key[:80]} is a name, * standing for any characters")


def _patch_flaws(patch: Any, path: Path) -> Iterator[Flaw]:
    if isinstance(patch, list) and patch:
        flaws: Sequence[Flaw] | Iterator[Flaw] = operation_flaws(patch)
    elif isinstance(patch, dict) and patch:
        flaws = merge_flaws(patch)
    elif isinstance(patch, str):
        yield Flaw(path, "a patch is YAML in its place here, not a text of its own", "leave out the | after patch:")
        return
    else:
        yield Flaw(path, "patch is a map to merge, or a list of JSON Patch operations")
        return
    for each in flaws:
        yield msgspec.structs.replace(each, path=(*path, *each.path))


def _own_target(patch: Any) -> dict[str, str]:
    """Return the target a merge patch names by being of a kind and a name itself, as Kustomize's may."""
    if not isinstance(patch, dict) or not isinstance(patch.get("metadata"), dict):
        return {}
    found = {"kind": patch.get("kind"), **{key: patch["metadata"].get(key) for key in ("name", "namespace")}}
    named = {key: value for key, value in found.items() if isinstance(value, str)}
    return named if named.keys() >= {"kind", "name"} else {}


def overlaid(
    contributions: Mapping[str, tuple[Resource, ...]], overlays: Sequence[Overlay]
) -> tuple[dict[str, tuple[Resource, ...]], list[Fault]]:
    """Return each instance's resources with the overlays laid over them, and the faults.

    What no overlay touches is the very same resource. With a fault that names a resource nothing may be used.
    """
    result = {owner: list(resources) for owner, resources in contributions.items()}
    last: dict[tuple[str, int], tuple[str, int]] = {}  # the resources changed, by the patch that came last
    faults: list[Fault] = []
    for overlay in sorted(overlays, key=lambda each: (each.order, each.name)):
        for index, patch in enumerate(overlay.patches):
            meant = list(_meant(result, patch.get("target") or _own_target(patch["patch"])))
            if not meant:
                faults.append(Fault(overlay.name, index, "it finds nothing to change"))
            for owner, at in meant:
                resource = result[owner][at]
                try:
                    body = _laid_over(resource.body, patch["patch"])
                except WireError as error:
                    faults.append(Fault(overlay.name, index, error.message, _words(resource)))
                    continue
                result[owner][at] = msgspec.structs.replace(resource, body=body)
                last[owner, at] = (overlay.name, index)
    for (owner, at), (name, index) in last.items():
        resource = result[owner][at]
        if problem := _problem(resource.body):
            faults.append(Fault(name, index, problem, _words(resource)))
        else:
            result[owner][at] = msgspec.structs.replace(resource, digest=digest(resource.body))
    return {owner: tuple(resources) for owner, resources in result.items()}, faults


def _words(resource: Resource) -> str:
    return f"{resource.key} of {resource.instance}"


def _meant(result: Mapping[str, list[Resource]], target: dict[str, str]) -> Iterator[tuple[str, int]]:
    patterns = {key: _pattern(value) for key, value in target.items()}
    for owner, resources in result.items():
        for at, resource in enumerate(resources):
            if _is_meant(patterns, resource, owner):
                yield owner, at


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", text)), re.DOTALL)


def _is_meant(patterns: Mapping[str, re.Pattern[str]], resource: Resource, owner: str) -> bool:
    metadata = resource.body["metadata"]
    seen = {
        "kind": resource.kind,
        "name": resource.name,
        "namespace": metadata.get("namespace") or "default",
        "id": resource.id,
    }
    for key, pattern in patterns.items():
        values = (owner, owner.partition("/")[2]) if key == "instance" else (seen[key],)
        if not any(pattern.fullmatch(str(value)) for value in values):
            return False
    return True


def _laid_over(before: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Return a body with a patch laid over it. Raises WireError."""
    body = patched(before, patch) if isinstance(patch, list) else merged(before, patch)
    for path in _IDENTITY:
        if _at(body, path) != _at(before, path):
            raise WireError(f"it may not change {'.'.join(path)}", reason="PatchFailed")
    if depth(body) > MAX_DEPTH or len(msgspec.json.encode(body)) > MAX_BYTES:
        said = f"the outcome is nested deeper than {MAX_DEPTH} or larger than {MAX_BYTES} bytes"
        raise WireError(said, reason="PatchFailed")
    return body


def _problem(body: dict[str, Any]) -> str:
    """Return what a site would have against the outcome; empty for nothing."""
    if not isinstance(body.get("spec") or {}, dict):
        return "spec must stay a map"
    for flaw in table.check(body):
        if not flaw.warning:
            return f"the outcome is refused: {path_text(flaw.path)}: {flaw.message}"
    return ""


def _at(body: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
