"""A Deployment or a Pod, read: both are a number of equal Pods with a name."""

import math
import re
from typing import Final

import msgspec

from holdfast_edge.providers.container.podspec import (
    DeploymentSpec,
    Labels,
    PodSpec,
    Strategy,
    TemplateMetadata,
    WorkloadDocument,
)
from holdfast_edge.providers.container.shape import refuse, shaped
from holdfast_protocol.errors import Problem
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

MAX_REPLICAS: Final = 100
_API_VERSIONS: Final = {"Deployment": "apps/v1", "Pod": "v1"}
_PERCENT: Final = re.compile(r"(?P<number>[0-9]{1,3})%")


class Workload(msgspec.Struct, frozen=True):
    key: ResourceKey
    name: str
    namespace: str
    labels: Labels  # of the Pods
    annotations: Labels
    pod: PodSpec
    where: str  # path of the Pod's spec in the document
    replicas: int = 1
    at_once: int = 1  # replicas that may be down together for a replacement
    min_ready_s: int = 0

    def pod_name(self, replica: int) -> str:
        return f"{self.name}-{replica}" if self.key.startswith("Deployment/") else self.name


def workload(resource: Resource) -> Workload:
    """Return what a resource asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    document = shaped(resource.body, WorkloadDocument, "")
    problems: list[Problem] = []
    wanted = _API_VERSIONS[document.kind]
    if document.api_version != wanted:
        problems.append(Problem(f"{document.api_version[:80]!r} is not {wanted}", path="apiVersion"))
    name = document.metadata.name
    if not all(is_name(part) for part in name.split(".")) or len(name) > 253:
        problems.append(Problem("not a DNS name of lower-case letters, digits, '-' and '.'", path="metadata.name"))
    if problems:
        refuse(problems, reason="BadDocument")
    if document.kind == "Pod":
        return Workload(
            key=resource.key,
            name=name,
            namespace=document.metadata.namespace,
            labels=document.metadata.labels,
            annotations=document.metadata.annotations,
            pod=shaped(document.spec, PodSpec, "spec"),
            where="spec",
        )
    return _deployment(resource.key, document)


def _deployment(key: ResourceKey, document: WorkloadDocument) -> Workload:
    spec = shaped(document.spec, DeploymentSpec, "spec")
    template: TemplateMetadata = spec.template.metadata
    problems = _deployment_problems(spec, template)
    at_once = _at_once(spec.strategy, spec.replicas, problems)
    if problems:
        refuse(problems, reason="BadDeployment")
    return Workload(
        key=key,
        name=document.metadata.name,
        namespace=document.metadata.namespace,
        labels=template.labels,
        annotations=template.annotations,
        pod=spec.template.spec,
        where="spec.template.spec",
        replicas=spec.replicas,
        at_once=at_once,
        min_ready_s=spec.min_ready_seconds,
    )


def _deployment_problems(spec: DeploymentSpec, template: TemplateMetadata) -> list[Problem]:
    problems = []
    if not 0 <= spec.replicas <= MAX_REPLICAS:
        problems.append(Problem(f"0 to {MAX_REPLICAS} replicas run at a site", path="spec.replicas"))
    if spec.template.spec.restart_policy != "Always":
        problems.append(
            Problem(
                "a Deployment's containers always restart",
                path="spec.template.spec.restartPolicy",
                hint="use a Pod for what ends by itself",
            )
        )
    if not 0 <= spec.min_ready_seconds <= 3600:
        problems.append(Problem("0 to 3600 seconds", path="spec.minReadySeconds"))
    problems.extend(
        Problem("the template's labels do not have it", path=f"spec.selector.matchLabels.{label[:80]}")
        for label, value in spec.selector.match_labels.items()
        if template.labels.get(label) != value
    )
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
    number = _number(rolling.max_unavailable, replicas)
    if number is None or _number(rolling.max_surge, replicas) is None:
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


def _number(value: int | str, replicas: int) -> int | None:
    if isinstance(value, int):
        return value if 0 <= value <= MAX_REPLICAS else None
    percent = _PERCENT.fullmatch(value)
    if percent is None or int(percent["number"]) > 100:
        return None
    return replicas * int(percent["number"]) // 100
