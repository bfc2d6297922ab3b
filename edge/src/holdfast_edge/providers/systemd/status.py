"""A unit's state as the `status` of its resource says it: systemd's words, by the names of its own interface. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.systemd.port import UnitState

ASKED: Final[Mapping[str, tuple[str, ...]]] = {  # by suffix: what is asked of a unit that is up
    ".timer": ("NextElapseUSecRealtime", "NextElapseUSecMonotonic", "LastTriggerUSec"),
    ".socket": ("NConnections", "NAccepted"),
    ".mount": ("What", "Where", "Type", "Options"),
}
_NEVER: Final = 2**64 - 1  # USEC_INFINITY
_TRUTHS: Final[Mapping[Readiness, str]] = {"ready": "True", "progressing": "Unknown", "degraded": "False"}


def unit_status(state: UnitState, readiness: Readiness, reason: str, message: str) -> dict[str, Any]:
    """Return what is said of every unit."""
    found: dict[str, Any] = {
        "activeState": state.active,
        "subState": state.sub,
        "loadState": state.load,
        "unitFileState": state.file_state,
        "conditions": [condition(readiness, reason, message)],
    }
    return found | ({"result": state.result} if state.result else {})


def condition(readiness: Readiness, reason: str, message: str) -> dict[str, str]:
    """Return the condition Ready as Kubernetes writes it."""
    return {"type": "Ready", "status": _TRUTHS[readiness], "reason": reason or "AsWanted", "message": message}


def kind_status(unit: str, told: Mapping[str, Any], *, boot_usec: int) -> dict[str, Any]:
    """Return what a timer, socket or mount tells beside. `boot_usec`: when the machine's monotonic clock was zero, in
    microseconds of 1970."""
    if unit.endswith(".timer"):
        times = [told.get("NextElapseUSecRealtime", 0)]
        monotonic = told.get("NextElapseUSecMonotonic", 0)
        times.append(monotonic + boot_usec if 0 < monotonic < _NEVER else 0)
        following = [each for each in times if 0 < each < _NEVER]
        last = told.get("LastTriggerUSec", 0)
        return {
            "nextElapse": _time(min(following)) if following else "",
            "lastTrigger": _time(last) if 0 < last < _NEVER else "",
        }
    if unit.endswith(".socket"):
        return {"connections": told.get("NConnections", 0), "accepted": told.get("NAccepted", 0)}
    if unit.endswith(".mount"):
        return {name.lower(): told.get(name, "") for name in ASKED[".mount"]}
    return {}


def _time(usec: int) -> str:
    return datetime.fromtimestamp(round(usec / 1_000_000), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
