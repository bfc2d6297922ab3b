"""How a unit stands against what is wanted: the differences, and its readiness. Pure."""

import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.systemd.port import UnitState
from holdfast_protocol.kinds.units import Wanted


class Standing(msgspec.Struct, frozen=True):
    differences: tuple[str, ...] = ()
    readiness: Readiness = "ready"
    reason: str = ""
    message: str = ""


def standing(want: Wanted, state: UnitState) -> Standing:
    """Judge the state systemd reports; the files on disk are compared elsewhere."""
    found = [*_load_differences(state), *_enabled_differences(want, state)]
    running = _running_difference(want, state)
    if running:
        found.append(running)
    readiness, reason, message = _readiness(want, state)
    return Standing(tuple(found), readiness, reason, message)


def reason_word(result: str) -> str:
    """Return systemd's result as our CamelCase word: start-limit-hit is StartLimitHit."""
    return "".join(part.capitalize() for part in result.split("-"))


def failed(state: UnitState) -> tuple[Readiness, str, str]:
    """Return what is said of a unit that has failed, or that systemd starts again after it did."""
    unknown = "Failed" if state.active == "failed" else "Restarting"
    reason = reason_word(state.result) if state.result not in {"", "success"} else unknown
    again = f", restarted {state.restarts} times" if state.restarts else ""
    return "degraded", reason, f"{state.active} ({state.sub}): {state.result or 'failed'} {state.status}{again}"


def _load_differences(state: UnitState) -> list[str]:
    if state.load == "masked" or state.file_state.startswith("masked"):
        return ["unit: masked"]
    if state.load == "not-found":
        return ["unit: systemd has not read it"]
    return []


def _enabled_differences(want: Wanted, state: UnitState) -> list[str]:
    """A unit without [Install] cannot be enabled: the agent starts it after a boot instead, which is no difference."""
    if state.file_state.startswith("masked"):
        return []  # said already
    if want.enabled and want.text.can_be_enabled and state.file_state not in {"enabled", "indirect", "alias"}:
        return [f"enabled: is {state.file_state or 'unknown'}"]
    if not want.enabled and state.file_state in {"enabled", "enabled-runtime"}:
        return [f"enabled: is {state.file_state}, wanted disabled"]
    return []


def _running_difference(want: Wanted, state: UnitState) -> str:
    stands = f"{state.active} ({state.sub})"
    if not want.running:
        up = state.active in {"active", "reloading", "activating"} and state.job != "stop"
        return f"running: is {stands}, wanted stopped" if up else ""
    if want.running == "onDemand":
        return ""
    if state.job in {"start", "restart", "try-restart", "reload-or-start"}:
        return ""  # on its way
    if state.active == "failed":
        return f"running: {stands}"
    if state.active == "deactivating" or (state.active == "inactive" and not want.text.runs_to_completion):
        return f"running: is {stands}"
    return ""


def _readiness(want: Wanted, state: UnitState) -> tuple[Readiness, str, str]:
    if state.load not in {"loaded", "not-found", "masked"}:
        return "degraded", reason_word(state.load), f"systemd cannot use the unit: {state.load}"
    if state.active == "failed" or state.sub.startswith("auto-restart"):
        return failed(state)
    if not want.running:
        stopped = state.active in {"inactive", "failed"}
        return ("ready", "Stopped", "") if stopped else ("progressing", "Stopping", f"{state.active} ({state.sub})")
    if state.active in {"activating", "deactivating"} or state.job:
        word = "Stopping" if state.active == "deactivating" else "Starting"
        return "progressing", word, f"{state.active} ({state.sub})"
    if state.active == "inactive":
        if want.running == "onDemand":
            return "ready", "OnDemand", ""
        if want.text.runs_to_completion:
            return "ready", "Completed", ""
        return "degraded", "Inactive", "not running"
    return "ready", "", ""
