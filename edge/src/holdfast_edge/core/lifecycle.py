"""Lifecycle: the ladder of reports about a target, from what its statuses say.

A1 and A2 are said once: A2 when everything is prepared, or when the target is rejected. A3 is said whenever its outcome
changed (a flapping one at most once a minute). A4 is said once, when a target that converged has become last-good.
Times are seconds since boot.
"""

from typing import Final, Literal

import msgspec

from holdfast_protocol.wire.messages import Cause, Status, TargetReport

QUIET: Final = 60.0  # seconds between two A3 reports about one target

Outcome = Literal["", "converged", "degraded", "rolled-back"]


class Life(msgspec.Struct, frozen=True):
    """What was said of one target, between looks and restarts."""

    epoch: int = 0
    generation: int = 0
    digest: str = ""
    judged: bool = False  # A2 was said
    said: Outcome = ""  # by the last A3
    said_at: float = 0.0
    owed: Outcome = ""  # what an A3 says once it may
    stable: bool = False  # A4 was said


def resumed(life: Life) -> Life:
    """Return what a restart leaves: what was said stays said."""
    return msgspec.structs.replace(life, owed="", said_at=-QUIET)


def advance(life: Life, status: Status, *, now: float) -> tuple[Life, tuple[TargetReport, ...]]:
    """Return the life after `status` and what to report. Equal arguments give equal results; nothing is said twice."""
    if status.generation == 0 or status.progress is None:
        return life, ()
    reports: list[TargetReport] = []
    phase = status.progress.phase
    if (life.epoch, life.generation, life.digest) != (status.epoch, status.generation, status.digest):
        life = Life(epoch=status.epoch, generation=status.generation, digest=status.digest, said_at=now - QUIET)
        reports.append(_report("A1", "received", status))
    if not life.judged and phase != "preparing":
        rejected = phase == "rejected"
        reports.append(_report("A2", "rejected" if rejected else "accepted", status))
        life = msgspec.structs.replace(life, judged=True)
    outcome = _outcome(status, phase)
    stable = phase == "stable" and outcome == "converged" and not life.stable
    life = msgspec.structs.replace(life, owed=outcome if outcome != life.said else "")
    if life.owed and (now - life.said_at >= QUIET or stable or not life.said or outcome == "rolled-back"):
        reports.append(_report("A3", life.owed, status))
        life = msgspec.structs.replace(life, said=life.owed, said_at=now, owed="")
    if stable:
        reports.append(_report("A4", "stable", status))
        life = msgspec.structs.replace(life, stable=True)
    return life, tuple(reports)


def again_at(life: Life) -> float | None:
    """Return when time alone would change something, in seconds since boot; None when only news can."""
    return life.said_at + QUIET if life.owed else None


def _outcome(status: Status, phase: str) -> Outcome:
    match phase:
        case "preparing" | "rolling-back" | "rejected":
            return ""
        case "rolled-back" | "stuck":
            return "rolled-back"
        case _ if status.state == "Converged":
            return "converged"
        case _ if status.state == "Degraded" and not (
            status.counts.get("Progressing") or status.counts.get("Removing")
        ):
            return "degraded"
        case _:
            return ""


def _report(
    level: Literal["A1", "A2", "A3", "A4"],
    outcome: Literal["received", "accepted", "rejected", "converged", "degraded", "rolled-back", "stable"],
    status: Status,
) -> TargetReport:
    cause = _cause(outcome, status)
    second = status.progress.second if status.progress and outcome == "rolled-back" else None
    message = f"{cause.resource}: {cause.message}" if cause.resource else cause.message
    if second is not None:
        message = f"{message}; going back: {second.resource}: {second.reason}: {second.message}"
    return TargetReport(
        level=level,
        epoch=status.epoch,
        generation=status.generation,
        digest=status.digest,
        outcome=outcome,
        reason=cause.reason,
        message=message,
        observed_digest=status.observed_digest if level in ("A3", "A4") else "",
        phase=cause.phase,
        resource=cause.resource,
        hint=cause.hint or (status.progress.next if status.progress and cause.phase else ""),
    )


def _cause(outcome: str, status: Status) -> Cause:
    if outcome in ("rejected", "rolled-back") and status.progress is not None and status.progress.cause is not None:
        return status.progress.cause
    if outcome == "degraded":
        for entry in status.resources:
            if entry.condition.type in ("Failed", "Degraded", "Unsupported"):
                condition = entry.condition
                return Cause("", entry.key, condition.reason, condition.message, condition.hint)
    return Cause("")
