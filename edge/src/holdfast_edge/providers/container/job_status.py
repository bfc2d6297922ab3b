"""What is shown of a Job or CronJob: readiness, and Kubernetes' own `status`. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.health import detail
from holdfast_edge.providers.container.runs import History, Run
from holdfast_edge.providers.container.status import moment
from holdfast_protocol.kinds.pods.cron_job import CronJob
from holdfast_protocol.kinds.pods.job import Job


class Shown(msgspec.Struct, frozen=True):
    readiness: Readiness
    reason: str
    message: str
    detail: dict[str, Any]
    status: dict[str, Any]


def shown(job: Job, cron: CronJob | None, history: History, found: Sequence[Found]) -> Shown:
    details = detail(tuple(found), {})
    if cron is not None:
        return _of_cron_job(cron, history, details)
    run = history.run("", job.digest)
    assert run is not None  # the agenda begins it
    readiness, reason, message = _judged(job, run, found)
    return Shown(readiness, reason, message, details, _status(job, run))


def _judged(job: Job, run: Run, found: Sequence[Found]) -> tuple[Readiness, str, str]:
    if run.outcome == "Complete":
        return "ready", "Complete", f"{run.count('succeeded')} of {job.completions} completions"
    if run.outcome:
        ends = sorted({f"{each.container}: exit code {each.exit_code}" for each in found if each.exit_code})
        why = f"{run.reason} after {run.count('failed')} failed attempts"
        return "degraded", "JobFailed", "; ".join([why, *ends[:5]])
    if job.suspended:
        return "ready", "Suspended", ""
    if run.count("failed"):
        return "progressing", "Retrying", f"{run.count('failed')} attempts failed, {job.backoff_limit} may"
    return "progressing", "Running", f"{run.count('succeeded')} of {job.completions} completions"


def _status(job: Job, run: Run) -> dict[str, Any]:
    status: dict[str, Any] = {
        "startTime": moment(run.started_at),
        "active": len(run.active),
        "succeeded": run.count("succeeded"),
        "failed": run.count("failed"),
        "conditions": [],
    }
    if run.outcome:
        condition = {"type": run.outcome, "status": "True", "lastTransitionTime": moment(run.finished_at)}
        status["conditions"] = [condition | ({"reason": run.reason} if run.reason else {})]
    elif job.suspended:
        status["conditions"] = [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]
    if run.outcome == "Complete":
        status["completionTime"] = moment(run.finished_at)
    if job.indexed:
        done = sorted({each.index for each in run.attempts if each.state == "succeeded"})
        status["completedIndexes"] = ",".join(map(str, done))
    return status


def _of_cron_job(cron: CronJob, history: History, details: dict[str, Any]) -> Shown:
    name = cron.job.workload.name
    runs = sorted((run for run in history.runs if run.name.isdigit()), key=lambda run: int(run.name))
    ended = [run for run in runs if run.outcome]
    good = [run.finished_at for run in ended if run.outcome == "Complete"]
    status: dict[str, Any] = {
        "active": [
            {"kind": "Job", "apiVersion": "batch/v1", "name": f"{name}-{int(run.name) // 60}"}
            for run in runs
            if not run.outcome
        ]
    }
    if runs:
        status["lastScheduleTime"] = moment(int(runs[-1].name))
    if good:
        status["lastSuccessfulTime"] = moment(max(good))
    following = None if cron.suspended else cron.schedule.after(history.since)
    message = f"next at {moment(following)}" if following else ""
    reason = "Suspended" if cron.suspended else "Scheduled"
    if ended and ended[-1].outcome == "Failed":
        reason, message = "LastRunFailed", f"{ended[-1].reason}; {message}".rstrip("; ")
    return Shown("ready", reason, message, details, status)
