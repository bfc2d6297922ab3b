"""Overrides: changes a person at the site has accepted, laid over what the target wants, until they end or the hub decides."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_edge.core import order
from holdfast_edge.core.holds import Moment, left
from holdfast_protocol.blueprint.merging import merge_flaws, merged
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire.messages import Override
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_OVERRIDES: Final = 50
MAX_BYTES: Final = 64 * 1024  # of all patches together, encoded: each status carries them
MAX_FLAW: Final = 300  # characters
MAX_SECONDS: Final = 366 * 24 * 3600
_IDENTITY: Final = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


class Kept(msgspec.Struct, frozen=True):
    """An override and the clock it was made by. `seconds` 0: without an end."""

    override: Override
    boot_id: str
    made_at: float  # seconds since boot
    seconds: float


class Laid(msgspec.Struct, frozen=True):
    """What is wanted with the overrides in effect; `problems` say by id why one is not."""

    wanted: dict[ResourceKey, Resource]
    by: Mapping[ResourceKey, Override]
    problems: Mapping[str, str]


def remaining(kept: Kept, now: Moment) -> float | None:
    """Return for how many more seconds an override stands; None when it has no end."""
    if kept.seconds == 0:
        return None
    return left(kept.boot_id, kept.made_at, kept.seconds, kept.override.until, now)


def laid_over(wanted: Mapping[ResourceKey, Resource], overrides: Sequence[Override]) -> Laid:
    """Lay overrides over what a target wants, in the order they were made. A new target keeps them; one that no longer
    fits is left out, with why."""
    made, by, problems = dict(wanted), {}, {}
    for override in overrides:
        key = ResourceKey(override.resource)
        resource = made.get(key)
        if resource is None:
            problems[override.id] = f"the target has no {key} now"
        elif problem := flaw(resource, override.patch) or _circle(resource, override.patch, made):
            problems[override.id] = problem
        else:
            made[key] = _laid(resource, override.patch)
            by[key] = override
    return Laid(made, by, problems)


def _laid(resource: Resource, patch: dict[str, Any]) -> Resource:
    body = merged(resource.body, patch)
    return msgspec.structs.replace(resource, body=body, digest=digests.digest(body))


def _circle(resource: Resource, patch: dict[str, Any], wanted: Mapping[ResourceKey, Resource]) -> str:
    """Return how a resource would wait for itself with a patch, "" when it does not."""
    laid = _laid(resource, patch)
    if order.after(laid) == order.after(resource):
        return ""
    way = order.circle(laid.key, order.dependencies({**wanted, laid.key: laid}.values()))
    return f"it would wait for itself: {' -> '.join(way)}"[:MAX_FLAW] if way else ""


def flaw(resource: Resource, patch: dict[str, Any]) -> str:
    """Return why a patch cannot be laid over a resource, "" when it can."""
    for each in merge_flaws(patch):
        return each.message
    body = merged(resource.body, patch)
    for path in _IDENTITY:
        if _at(body, path) != _at(resource.body, path):
            return f"it may not change {'.'.join(path)}"
    if not isinstance(body.get("spec") or {}, dict):
        return "spec must stay a map"
    from holdfast_protocol.kinds import table  # every kind with it: only where there are overrides

    for each in table.check(body):
        if not each.warning:
            return f"{'.'.join(str(step) for step in each.path)}: {each.message}"
    return ""


def accept(wanted: Mapping[ResourceKey, Resource], held: Collection[Kept], override: Override, seconds: float) -> None:
    """Raise MisuseError for an override that cannot be, over what is wanted without it."""
    resource = wanted.get(ResourceKey(override.resource))
    if resource is None:
        text = f"the target has no {override.resource[:200]}"
        raise MisuseError(text, reason="NotFound", hint="holdfast-edge status names what there is")
    if not override.reason.strip():
        raise MisuseError("an override needs a reason", reason="NoReason")
    if not 0 <= seconds <= MAX_SECONDS:
        raise MisuseError(f"an override lasts at most {MAX_SECONDS} seconds", reason="BadDuration")
    if not override.patch:
        raise MisuseError("the patch is empty", reason="InvalidInput")
    others = laid_over(wanted, [each.override for each in held]).wanted
    if problem := flaw(resource, override.patch) or _circle(resource, override.patch, others):
        raise MisuseError(problem, reason="InvalidInput", hint="the patch is merged into the resource as kubectl's is")
    every = [override, *(each.override for each in held)]
    if len(every) > MAX_OVERRIDES or sum(len(msgspec.json.encode(each.patch)) for each in every) > MAX_BYTES:
        text = f"at most {MAX_OVERRIDES} overrides of {MAX_BYTES} bytes together"
        raise MisuseError(text, reason="TooMany", hint="have the hub adopt or drop some")


def _at(body: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
