"""What a Job or a CronJob is to do now, over all its runs: pure. Times in seconds since 1970.

A CronJob's due times come from its last one alone, so the same node says the same with or without its hub.
"""

import math
from collections.abc import Sequence

import msgspec

from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.job_steps import JobStep, plan
from holdfast_edge.providers.container.runs import History, Outcome, Run
from holdfast_protocol.kinds.pods.cron_job import CronJob
from holdfast_protocol.kinds.pods.job import Job


class Agenda(msgspec.Struct, frozen=True):
    """`history` is written down before `steps` are done; at `wake_at` time alone changes it."""

    history: History
    steps: tuple[tuple[Run, JobStep], ...] = ()
    wake_at: float = math.inf


def of_job(job: Job, history: History, found: Sequence[Found], now: float) -> Agenda:
    """Return the agenda of the one run of the Job's template. A run of another template is over, and its containers go."""
    for run in history.runs:
        if run.digest != job.digest:
            history = history.with_run(msgspec.structs.replace(_over(run, "Failed", "Superseded", now), cleared=True))
    run = history.run("", job.digest) or Run("", job.digest, now)
    history = history.with_run(run)
    return _of_runs(job, history, found, now)


def of_cron_job(cron: CronJob, history: History, found: Sequence[Found], now: float) -> Agenda:
    """Return the agenda of a CronJob: the runs that go on, the one that is due, and what history need not keep."""
    since = (
        min(history.since, now) if history.since else now
    )  # a clock set back: nothing is due twice, nothing is stuck
    history = msgspec.structs.replace(history, since=since)
    agenda = _of_runs(cron.job, history, found, now)
    history = agenda.history
    due = cron.due(since, now, {int(run.name) for run in history.runs if run.name.isdigit()})
    active = [run for run in history.runs if not run.outcome]
    if due is not None and not (active and cron.concurrency == "Forbid"):
        for run in active if cron.concurrency == "Replace" else ():
            history = history.with_run(_over(run, "Failed", "Replaced", now))
        history = history.with_run(Run(str(int(due)), cron.job.digest, now))
        history = msgspec.structs.replace(history, since=due)
    history = _forgotten(cron, history)
    agenda = _of_runs(cron.job, history, found, now)
    following = None if cron.suspended else cron.schedule.after(max(history.since, now))
    return msgspec.structs.replace(agenda, wake_at=min(agenda.wake_at, following or math.inf))


def _of_runs(job: Job, history: History, found: Sequence[Found], now: float) -> Agenda:
    steps: list[tuple[Run, JobStep]] = []
    wake_at = math.inf
    for run in history.runs:
        mine = [each for each in found if (each.run, each.digest) == (run.name, run.digest)]
        made = plan(job, run, mine, now, current=run.digest == job.digest)
        history = _put(history, made.run)
        steps += [(made.run, step) for step in made.steps]
        wake_at = min(wake_at, made.wake_at)
    return Agenda(history, tuple(steps), wake_at)


def _put(history: History, run: Run) -> History:
    runs = tuple(run if (each.name, each.digest) == (run.name, run.digest) else each for each in history.runs)
    return msgspec.structs.replace(history, runs=runs)


def _over(run: Run, outcome: Outcome, reason: str, now: float) -> Run:
    return run if run.outcome else msgspec.structs.replace(run, outcome=outcome, reason=reason, finished_at=now)


def _forgotten(cron: CronJob, history: History) -> History:
    """Return the history with the containers of all but the newest runs of each outcome to be cleared away."""
    for outcome, kept in (("Complete", cron.keep_succeeded), ("Failed", cron.keep_failed)):
        ended = sorted((run for run in history.runs if run.outcome == outcome), key=lambda run: run.started_at)
        for run in ended[: max(0, len(ended) - kept)]:
            history = _put(history, msgspec.structs.replace(run, cleared=True))
    return history
