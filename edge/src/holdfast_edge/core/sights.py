"""What expressions see at a site: objects as Kubernetes would show them, body and status, from what providers observed."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_edge.core.observed import Observed
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

Body = dict[str, Any]
_READY: Final = {"ready": "True", "progressing": "False", "degraded": "False"}


class Reference(msgspec.Struct, frozen=True, order=True):
    """An object somebody else made: by name, or with `name` "" all of a kind that a selector chooses."""

    kind: str
    name: str = ""
    namespace: str = ""


class Look(msgspec.Struct, frozen=True):
    """What was wanted and seen at one moment. `found` are objects outside the target by reference.

    What is not in `observed`, or None or absent in `found`, nobody could look at.
    """

    wanted: Mapping[ResourceKey, Resource]
    observed: Mapping[ResourceKey, Observed]
    found: Mapping[Reference, tuple[Body, ...] | None] = {}


def object_of(resource: Resource, seen: Observed) -> Body:
    """Return a resource that is there with its status; a Ready condition is in it when the provider says none."""
    status: Body = msgspec.json.decode(msgspec.json.encode(seen.status))  # plain values, whatever the provider has
    if "conditions" not in status:
        ready = {"type": "Ready", "status": _READY[seen.readiness] if seen.as_wanted else "False"}
        status["conditions"] = [{**ready, "reason": seen.reason or "AsWanted", "message": seen.message}]
    return {**resource.body, "status": status}


def unsettled(resource: Resource, seen: Observed | None) -> str:
    """Return why a resource cannot count as ready whatever its readyWhen says; "" when it can."""
    if seen is None:
        return f"nobody could look at {resource.key}"
    if not seen.exists:
        return f"{resource.key} is not there"
    if seen.differences:
        return f"{resource.key} is not as wanted: {seen.differences[0]}"
    if seen.readiness != "ready":
        return ": ".join(part for part in (resource.key, seen.reason or seen.readiness, seen.message) if part)
    return ""


def selects(selector: Any, labels: Any) -> bool:
    """Return whether a Kubernetes label selector matches; one that is no selector matches nothing."""
    labels = labels if isinstance(labels, dict) else {}
    if not isinstance(selector, dict):
        return False
    exact = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    if not isinstance(exact, dict) or not isinstance(expressions, list):
        return False
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        isinstance(each, dict) and _holds(each, labels) for each in expressions
    )


def _holds(requirement: dict[str, Any], labels: dict[str, Any]) -> bool:
    key, values = requirement.get("key"), requirement.get("values") or []
    match requirement.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
