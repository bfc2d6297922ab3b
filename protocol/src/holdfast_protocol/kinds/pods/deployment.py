"""Deployment and DaemonSet: equal Pods; of a DaemonSet one on each node, so one here."""

import math
from typing import Any, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import (
    DeploymentSpec,
    PodTemplate,
    RollingUpdate,
    Selector,
    Strategy,
    Strict,
    WorkloadDocument,
)
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import MAX_REPLICAS, Kind, Workload, document, replicas_of, unmatched
from holdfast_protocol.wire.names import ResourceKey


class DaemonStrategy(Strict, frozen=True):
    type: Literal["RollingUpdate"] = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DaemonSetSpec(Strict, frozen=True):
    template: PodTemplate
    selector: Selector = Selector()
    update_strategy: DaemonStrategy = DaemonStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


def deployment(key: ResourceKey, body: dict[str, Any]) -> Workload:
    read = document(body, "apps/v1")
    spec = shaped(read.spec, DeploymentSpec, "spec")
    problems = template_problems(spec.template, spec.selector, spec.min_ready_seconds)
    problems += replica_problems(spec.replicas)
    at_once = _at_once(spec.strategy, spec.replicas, problems)
    if problems:
        refuse(problems, reason="BadDeployment")
    lasting = lasting_pods(key, "Deployment", read, spec.template, spec.min_ready_seconds)
    return msgspec.structs.replace(lasting, replicas=spec.replicas, at_once=at_once)


def daemon_set(key: ResourceKey, body: dict[str, Any]) -> Workload:
    read = document(body, "apps/v1")
    spec = shaped(read.spec, DaemonSetSpec, "spec")
    problems = template_problems(spec.template, spec.selector, spec.min_ready_seconds)
    if problems:
        refuse(problems, reason="BadDaemonSet")
    return lasting_pods(key, "DaemonSet", read, spec.template, spec.min_ready_seconds)


def lasting_pods(
    key: ResourceKey, kind: Kind, read: WorkloadDocument, template: PodTemplate, min_ready_s: int
) -> Workload:
    """Return one Pod of the template, to stay; what its kind says beyond that is the caller's."""
    return Workload(
        key=key,
        kind=kind,
        name=read.metadata.name,
        namespace=read.metadata.namespace,
        labels=template.metadata.labels,
        annotations=template.metadata.annotations,
        pod=template.spec,
        where="spec.template.spec",
        min_ready_s=min_ready_s,
    )


def replica_problems(replicas: int) -> list[Problem]:
    if 0 <= replicas <= MAX_REPLICAS:
        return []
    return [Problem(f"0 to {MAX_REPLICAS} replicas run at a site", path="spec.replicas")]


def template_problems(template: PodTemplate, selector: Selector, min_ready_s: int) -> list[Problem]:
    """Return what is wrong with a template of Pods that are to stay."""
    problems = unmatched(selector.match_labels, template.metadata.labels)
    if template.spec.restart_policy != "Always":
        problems.append(
            Problem(
                "containers that are to stay always restart",
                path="spec.template.spec.restartPolicy",
                hint="use a Job or a Pod for what ends by itself",
            )
        )
    if not 0 <= min_ready_s <= 3600:
        problems.append(Problem("0 to 3600 seconds", path="spec.minReadySeconds"))
    return problems


def _at_once(strategy: Strategy, replicas: int, problems: list[Problem]) -> int:
    if strategy.type == "Recreate":
        if strategy.rolling_update:
            problems.append(Problem("only RollingUpdate has it", path="spec.strategy.rollingUpdate"))
        return max(1, replicas)
    rolling = strategy.rolling_update
    if rolling is None:
        return max(1, math.floor(replicas * 0.25))
    path = "spec.strategy.rollingUpdate.maxUnavailable"
    number = replicas_of(rolling.max_unavailable, replicas)
    if number is None or replicas_of(rolling.max_surge, replicas) is None:
        problems.append(Problem("a number or a percentage up to 100%", path="spec.strategy.rollingUpdate"))
    elif number == 0 and rolling.max_unavailable in (0, "0%", "0"):
        problems.append(
            Problem(
                "0 is not possible: a replica is replaced in its place, never beside it",
                path=path,
                hint="1 or more; ports, devices and memory of the old replica are free before the new one starts",
            )
        )
    return max(1, number or 1)
