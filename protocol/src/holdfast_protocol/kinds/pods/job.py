"""Job: Pods that run to their end, so many times, and never again once that is done."""

from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import PodTemplate, Selector, Strict
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import Kind, Workload, document, unmatched
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire.names import Digest, ResourceKey

MAX_COMPLETIONS: Final = 1_000
MAX_PARALLEL: Final = 50
MAX_SECONDS: Final = 366 * 86_400


class JobSpec(Strict, frozen=True):
    template: PodTemplate
    completions: int | None = None
    parallelism: int | None = None
    completion_mode: Literal["NonIndexed", "Indexed"] = "NonIndexed"
    backoff_limit: int = 6
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None  # None: what is left of it stays
    suspend: bool = False
    selector: Selector = Selector()


class Job(msgspec.Struct, frozen=True):
    """`digest` is of what runs: with the same one nothing succeeds twice. Contents of ConfigMaps count for nothing."""

    workload: Workload
    digest: Digest
    completions: int
    parallelism: int
    indexed: bool = False
    backoff_limit: int = 6
    deadline_s: int | None = None
    ttl_s: int | None = None
    suspended: bool = False


def job(key: ResourceKey, body: dict[str, Any]) -> Job:
    """Return what a Job asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    read = document(body, "batch/v1")
    spec = shaped(read.spec, JobSpec, "spec")
    return job_of(key, "Job", read.metadata.name, read.metadata.namespace, spec, "spec")


def job_of(key: ResourceKey, kind: Kind, name: str, namespace: str, spec: JobSpec, where: str) -> Job:
    """Return the Job that a spec at the path `where` asks for."""
    completions = spec.completions if spec.completions is not None else spec.parallelism or 1
    problems = _problems(spec, completions, where)
    if problems:
        refuse(problems, reason="BadJob")
    workload = Workload(
        key=key,
        kind=kind,
        name=name,
        namespace=namespace,
        labels=spec.template.metadata.labels,
        annotations=spec.template.metadata.annotations,
        pod=spec.template.spec,
        where=f"{where}.template.spec",
    )
    return Job(
        workload=workload,
        digest=digests.digest(
            {
                "template": msgspec.to_builtins(spec.template),
                "completions": completions,
                "indexed": spec.completion_mode == "Indexed",
            }
        ),
        completions=completions,
        parallelism=min(1 if spec.parallelism is None else spec.parallelism, max(completions, 1)),
        indexed=spec.completion_mode == "Indexed",
        backoff_limit=spec.backoff_limit,
        deadline_s=spec.active_deadline_seconds,
        ttl_s=spec.ttl_seconds_after_finished,
        suspended=spec.suspend,
    )


def _problems(spec: JobSpec, completions: int, where: str) -> list[Problem]:
    problems = unmatched(spec.selector.match_labels, spec.template.metadata.labels)
    if spec.template.spec.restart_policy == "Always":
        problems.append(
            Problem("a Job ends: OnFailure or Never", path=f"{where}.template.spec.restartPolicy", hint="say Never")
        )
    for field, value, least, most in (
        ("completions", completions, 1, MAX_COMPLETIONS),
        ("parallelism", spec.parallelism, 0, MAX_PARALLEL),
        ("backoffLimit", spec.backoff_limit, 0, 1_000),
        ("activeDeadlineSeconds", spec.active_deadline_seconds, 1, MAX_SECONDS),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished, 0, MAX_SECONDS),
    ):
        if value is not None and not least <= value <= most:
            problems.append(Problem(f"{least} to {most}", path=f"{where}.{field}"))
    if spec.completions is None and (spec.parallelism or 1) > 1:
        problems.append(
            Problem(
                "is needed beside a parallelism above 1: nobody tells here when a queue is empty",
                path=f"{where}.completions",
            )
        )
    if spec.completion_mode == "Indexed" and spec.completions is None:
        problems.append(Problem("is needed with completionMode Indexed", path=f"{where}.completions"))
    for index, container in enumerate(spec.template.spec.containers):
        if container.liveness_probe or container.readiness_probe or container.startup_probe:
            problems.append(
                Problem("probes are for containers that stay", path=f"{where}.template.spec.containers[{index}]")
            )
    return problems
