"""Objects of an API server as they are compared, and whether they are ready. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast_edge.core.observed import Readiness

MAX_DIFFERENCES: Final = 5
_SERVERS: Final = ("managedFields", "resourceVersion", "generation")
_GOOD: Final = ("Ready", "Available", "Complete", "Established", "Succeeded")
_BAD: Final = ("Failed", "ReplicaFailure", "Stalled")


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Return the paths at which applying ours would change the object."""
    found: list[str] = []
    for path in _paths(_compared(now), _compared(then), ""):
        if len(found) == MAX_DIFFERENCES:
            return [*found, "more"]
        found.append(path)
    return found


def is_applied_by(body: Mapping[str, Any], manager: str) -> bool:
    """Return whether a manager has applied fields of an object."""
    fields = (body.get("metadata") or {}).get("managedFields") or []
    return any(isinstance(each, dict) and each.get("manager") == manager for each in fields)


def readiness(body: Mapping[str, Any]) -> tuple[Readiness, str, str]:
    """Return readiness, reason and message from an object's status; one without a status is ready."""
    metadata = body.get("metadata") or {}
    if metadata.get("deletionTimestamp"):
        return "progressing", "Deleting", "is being deleted by somebody"
    status = body.get("status")
    if not isinstance(status, dict):
        return "ready", "", ""
    seen = status.get("observedGeneration")
    if isinstance(seen, int) and seen < int(metadata.get("generation") or 0):
        return "progressing", "NotSeenYet", "its controller has not seen the change yet"
    conditions = [each for each in status.get("conditions") or [] if isinstance(each, dict)]
    for each in conditions:
        stuck = each.get("type") == "Progressing" and each.get("status") == "False"
        if stuck or (each.get("type") in _BAD and each.get("status") == "True"):
            return "degraded", str(each.get("reason") or each["type"])[:60], str(each.get("message", ""))[:300]
    asked = (body.get("spec") or {}).get("replicas")
    if isinstance(asked, int):
        for name in ("updatedReplicas", "readyReplicas"):
            if int(status.get(name) or 0) < asked and name in _counted(body):
                return "progressing", "Replicas", f"{status.get(name) or 0} of {asked} {name.removesuffix('Replicas')}"
    waiting = [each for each in conditions if each.get("type") in _GOOD and each.get("status") != "True"]
    if waiting and not any(each.get("type") in _GOOD and each.get("status") == "True" for each in conditions):
        return "progressing", str(waiting[0].get("reason") or "NotReady")[:60], str(waiting[0].get("message", ""))[:300]
    return "ready", "", ""


def _counted(body: Mapping[str, Any]) -> tuple[str, ...]:
    match body.get("kind"):
        case "Deployment" | "StatefulSet":
            return ("updatedReplicas", "readyReplicas")
        case "ReplicaSet":
            return ("readyReplicas",)
        case _:
            return ()


def _compared(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (body.get("metadata") or {}).items() if key not in _SERVERS}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def _paths(now: Any, then: Any, path: str) -> Iterator[str]:
    if isinstance(now, dict) and isinstance(then, dict):
        for key in sorted({*now, *then}):
            yield from _paths(now.get(key), then.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for number, (left, right) in enumerate(zip(now, then, strict=True)):
            yield from _paths(left, right, f"{path}[{number}]")
    elif now != then:
        yield path
