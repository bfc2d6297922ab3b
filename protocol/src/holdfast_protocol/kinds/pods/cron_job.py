"""CronJob: a Job again and again, each due time at most once."""

import math
from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.job import Job, JobSpec, job_of
from holdfast_protocol.kinds.pods.podspec import Strict, TemplateMetadata
from holdfast_protocol.kinds.pods.schedule import Schedule, schedule
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import document
from holdfast_protocol.wire.names import ResourceKey

_LOOK_BACK_S: Final = (3_600.0, 90_000.0, 32 * 86_400.0, 370 * 86_400.0, math.inf)  # a short look finds the newest soon
MAX_HISTORY: Final = 50


class JobTemplate(Strict, frozen=True):
    spec: JobSpec
    metadata: TemplateMetadata = TemplateMetadata()


class CronJobSpec(Strict, frozen=True):
    schedule: str
    job_template: JobTemplate
    time_zone: str = ""  # UTC
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Allow"
    suspend: bool = False
    starting_deadline_seconds: int | None = None
    successful_jobs_history_limit: int = 3
    failed_jobs_history_limit: int = 1


class CronJob(msgspec.Struct, frozen=True):
    job: Job
    schedule: Schedule
    concurrency: Literal["Allow", "Forbid", "Replace"] = "Allow"
    suspended: bool = False
    starting_deadline_s: int | None = None
    keep_succeeded: int = 3
    keep_failed: int = 1

    def due(self, since: float, now: float, known: Collection[int]) -> float | None:
        """Return the newest time due in (since, now] unless it is known; older ones are missed for good. Seconds since 1970."""
        if self.suspended:
            return None
        if self.starting_deadline_s is not None:
            since = max(since, now - self.starting_deadline_s)
        newest = None
        for back_s in _LOOK_BACK_S:
            for at in self.schedule.following(max(since, now - back_s)):
                if at > now:
                    break
                newest = at
            if newest is not None or now - back_s <= since:
                break
        return None if newest is None or int(newest) in known else newest


def cron_job(key: ResourceKey, body: dict[str, Any]) -> CronJob:
    """Return what a CronJob asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    read = document(body, "batch/v1")
    spec = shaped(read.spec, CronJobSpec, "spec")
    problems: list[Problem] = []
    try:
        schedule(spec.schedule)
    except ValueError as error:
        problems.append(Problem(str(error), path="spec.schedule"))
    try:
        schedule("@daily", spec.time_zone)
    except ValueError as error:
        problems.append(Problem(str(error), path="spec.timeZone"))
    for field, value, most in (
        ("startingDeadlineSeconds", spec.starting_deadline_seconds, 366 * 86_400),
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit, MAX_HISTORY),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit, MAX_HISTORY),
    ):
        if value is not None and not 0 <= value <= most:
            problems.append(Problem(f"0 to {most}", path=f"spec.{field}"))
    if spec.job_template.spec.suspend:
        problems.append(Problem("suspend the CronJob itself", path="spec.jobTemplate.spec.suspend"))
    if problems:
        refuse(problems, reason="BadCronJob")
    return CronJob(
        job=job_of(
            key, "CronJob", read.metadata.name, read.metadata.namespace, spec.job_template.spec, "spec.jobTemplate.spec"
        ),
        schedule=schedule(spec.schedule, spec.time_zone),
        concurrency=spec.concurrency_policy,
        suspended=spec.suspend,
        starting_deadline_s=spec.starting_deadline_seconds,
        keep_succeeded=spec.successful_jobs_history_limit,
        keep_failed=spec.failed_jobs_history_limit,
    )
