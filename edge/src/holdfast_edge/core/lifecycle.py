"""Lifecycle: how far a target has come, and the ladder of reports about it.

    accepted -> applying -> converged -> (soak) -> stable, which makes it last-good
                   |  ^________|
                   +-> degraded: nothing more can be done now, and something is wrong

A1 and A2 are said once, A3 whenever its outcome changed (a flapping one at most once a minute), A4 once, after
everything was as wanted and ready for the whole soak time. Times are seconds since boot.
"""

from typing import Final, Literal

import msgspec

from holdfast_protocol.wire.messages import Status, TargetReport

QUIET: Final = 60.0  # seconds between two A3 reports about one target

Phase = Literal["accepted", "applying", "converged", "stable", "degraded"]
Outcome = Literal["", "converged", "degraded"]


class Life(msgspec.Struct, frozen=True):
    """What is remembered of one target between looks and restarts."""

    epoch: int = 0
    generation: int = 0
    digest: str = ""
    phase: Phase = "accepted"
    said: Outcome = ""  # by the last A3
    said_at: float = 0.0
    since: float = 0.0  # of converged
    stable: bool = False  # A4 was said: this target is last-good


def resumed(life: Life) -> Life:
    """Return what a restart leaves: the soak begins again, what was said stays said."""
    phase: Phase = "applying" if life.phase == "converged" else life.phase
    return msgspec.structs.replace(life, phase=phase, since=0.0, said_at=-QUIET)


def advance(life: Life, status: Status, *, now: float, soak: float) -> tuple[Life, tuple[TargetReport, ...]]:
    """Return the life after `status` and what to report. Equal arguments give equal results; nothing is said twice."""
    if status.generation == 0:
        return life, ()
    reports: list[TargetReport] = []
    if (life.epoch, life.generation, life.digest) != (status.epoch, status.generation, status.digest):
        life = Life(epoch=status.epoch, generation=status.generation, digest=status.digest, said_at=now - QUIET)
        reports += [_report("A1", "received", status), _report("A2", "accepted", status)]
    phase = _phase(life, status, now, soak)
    since = now if phase == "converged" and life.phase != "converged" else life.since
    life = msgspec.structs.replace(life, phase=phase, since=since)
    outcome = _outcome(phase)
    first_stable = phase == "stable" and not life.stable
    if outcome and outcome != life.said and (now - life.said_at >= QUIET or first_stable or not life.said):
        reports.append(_report("A3", outcome, status))
        life = msgspec.structs.replace(life, said=outcome, said_at=now)
    if first_stable:
        reports.append(_report("A4", "stable", status))
        life = msgspec.structs.replace(life, stable=True)
    return life, tuple(reports)


def again_at(life: Life, soak: float) -> float | None:
    """Return when time alone would change something, in seconds since boot; None when only news can."""
    if life.phase == "converged":
        return life.since + soak
    if _outcome(life.phase) not in ("", life.said):
        return life.said_at + QUIET
    return None


def _phase(life: Life, status: Status, now: float, soak: float) -> Phase:
    match status.state:
        case "Converged" if life.stable or (life.phase == "converged" and now - life.since >= soak):
            return "stable"
        case "Converged":
            return "converged"
        case "Degraded" if not (status.counts.get("Progressing") or status.counts.get("Removing")):
            return "degraded"
        case _:
            return "applying"


def _outcome(phase: Phase) -> Outcome:
    match phase:
        case "converged" | "stable":
            return "converged"
        case "degraded":
            return "degraded"
        case _:
            return ""


def _report(
    level: Literal["A1", "A2", "A3", "A4"],
    outcome: Literal["received", "accepted", "converged", "degraded", "stable"],
    status: Status,
) -> TargetReport:
    culprit = next(
        (entry for entry in status.resources if entry.condition.type in ("Failed", "Degraded", "Unsupported")), None
    )
    blamed = culprit if outcome == "degraded" else None
    return TargetReport(
        level=level,
        epoch=status.epoch,
        generation=status.generation,
        digest=status.digest,
        outcome=outcome,
        reason=blamed.condition.reason if blamed else "",
        message=f"{blamed.key}: {blamed.condition.message}" if blamed else "",
        observed_digest=status.observed_digest if level in ("A3", "A4") else "",
    )
