"""What has to be done for a run of a Job: pure, level-triggered, safe to begin again after a kill anywhere."""

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.runs import Attempt, Outcome, Run
from holdfast_protocol.kinds.pods.job import Job

FIRST_BACKOFF_S: Final = 10.0  # Kubernetes': doubling from the first failure, up to six minutes
LONGEST_BACKOFF_S: Final = 360.0


class JobStep(msgspec.Struct, frozen=True):
    """`build`: make and start what an attempt lacks; `stop` and `remove` concern `ids`."""

    action: Literal["build", "stop", "remove"]
    why: str
    attempt: Attempt | None = None
    ids: tuple[str, ...] = ()


class JobPlan(msgspec.Struct, frozen=True):
    """The run as it is to be written down before the steps, and when time alone changes the plan (seconds since 1970)."""

    run: Run
    steps: tuple[JobStep, ...] = ()
    wake_at: float = math.inf


def plan(job: Job, run: Run, found: Sequence[Found], now: float, *, current: bool = True) -> JobPlan:
    """Return what a run needs. `current` false: its template is gone, so what runs may end and nothing is begun."""
    wake_at = math.inf
    if not run.outcome:
        run, wake_at = _advanced(job, run, now, current=current)
    steps: list[JobStep] = []
    if run.outcome:
        running = tuple(each.id for each in found if each.state in ("running", "restarting", "paused"))
        if running and not run.cleared:
            steps.append(JobStep("stop", f"{_name(run)} is over: {run.reason or run.outcome}", ids=running))
        if job.ttl_s is not None and not run.cleared:
            due = run.finished_at + job.ttl_s
            if now >= due:
                run = msgspec.structs.replace(run, cleared=True)
            else:
                wake_at = due
        if run.cleared and found:
            steps.append(JobStep("remove", f"{_name(run)} is over and cleared away", ids=_ids(found)))
        return JobPlan(run, tuple(steps), wake_at)
    numbers = {str(each.number) for each in run.attempts}
    strays = tuple(each for each in found if each.replica not in numbers)
    if strays:
        steps.append(JobStep("remove", f"{_name(run)}: suspended, or more than wanted", ids=_ids(strays)))
    steps.extend(
        JobStep("build", f"{_name(run)}: attempt {attempt.number} is to run", attempt)
        for attempt in (run.active if current else ())
        if _lacks(attempt, found)
    )
    return JobPlan(run, tuple(steps), wake_at)


def _advanced(job: Job, run: Run, now: float, *, current: bool) -> tuple[Run, float]:
    """Return the run after what has ended is judged and new attempts are planned, and when to look again."""
    failures = run.count("failed")
    wake_at = math.inf
    if _succeeded(job, run):
        return _over(run, "Complete", "", max(each.ended_at for each in run.attempts)), wake_at
    if failures > job.backoff_limit:
        return _over(run, "Failed", "BackoffLimitExceeded", now), wake_at
    if job.deadline_s is not None and not job.suspended:
        wake_at = run.started_at + job.deadline_s
        if now >= wake_at:
            return _over(run, "Failed", "DeadlineExceeded", now), math.inf
    if job.suspended:
        return msgspec.structs.replace(run, attempts=tuple(each for each in run.attempts if each.ended)), math.inf
    if not current:
        made = any(each.state == "made" for each in run.attempts)
        return (run, wake_at) if made else (_over(run, "Failed", "TemplateChanged", now), math.inf)
    if failures:
        last = max(each.ended_at for each in run.attempts if each.state == "failed")
        again = min(last, now) + min(FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_S)
        if now < again:
            return run, min(wake_at, again)
    return _with_attempts(job, run), wake_at


def _succeeded(job: Job, run: Run) -> bool:
    done = [each for each in run.attempts if each.state == "succeeded"]
    return len({each.index for each in done}) >= job.completions if job.indexed else len(done) >= job.completions


def _with_attempts(job: Job, run: Run) -> Run:
    attempts = list(run.attempts)
    done = [each for each in attempts if each.state == "succeeded"]
    while True:
        active = [each for each in attempts if not each.ended]
        busy = {each.index for each in (*active, *done)}
        left = job.completions - len(done) - len(active)
        if job.indexed:
            left = job.completions - len(busy)
        if left <= 0 or len(active) >= job.parallelism:
            return msgspec.structs.replace(run, attempts=tuple(attempts))
        number = max((each.number for each in attempts), default=-1) + 1
        index = next(n for n in range(job.completions) if n not in busy) if job.indexed else 0
        attempts.append(Attempt(number, index))


def _over(run: Run, outcome: Outcome, reason: str, at: float) -> Run:
    return msgspec.structs.replace(run, outcome=outcome, reason=reason, finished_at=at)


def _lacks(attempt: Attempt, found: Sequence[Found]) -> bool:
    of_attempt = [each for each in found if each.replica == str(attempt.number)]
    main = [each for each in of_attempt if not each.initial]
    if not main:
        busy = any(each.initial and each.state in ("running", "restarting", "paused") for each in of_attempt)
        return not busy
    return any(each.state == "created" or _is_cut_short(each) for each in main) or len(main) < main[0].siblings


def _is_cut_short(each: Found) -> bool:
    """Return whether the engine was to try again and did not: it was stopped in between."""
    return each.state == "exited" and each.exit_code != 0 and 0 <= each.restarts < each.retries


def _ids(found: Sequence[Found]) -> tuple[str, ...]:
    return tuple(sorted(each.id for each in found))


def _name(run: Run) -> str:
    return f"run {run.name}" if run.name else "the Job"
