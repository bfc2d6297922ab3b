"""StatefulSet: Pods with an order, names that stay, and volumes of their own that outlive them."""

from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.claim import ClaimSpec, claim_problems
from holdfast_protocol.kinds.pods.deployment import lasting_pods, replica_problems, template_problems
from holdfast_protocol.kinds.pods.podspec import Labels, PodTemplate, Selector, Strict
from holdfast_protocol.kinds.pods.quantities import whole_bytes
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import Workload, document, replicas_of
from holdfast_protocol.wire.names import ResourceKey, is_name

MAX_TEMPLATES: Final = 16


class ClaimMetadata(Strict, frozen=True):
    name: str
    labels: Labels = msgspec.field(default_factory=dict)
    annotations: Labels = msgspec.field(default_factory=dict)


class ClaimTemplate(Strict, frozen=True):
    metadata: ClaimMetadata
    spec: ClaimSpec
    api_version: Literal["v1"] = "v1"
    kind: Literal["PersistentVolumeClaim"] = "PersistentVolumeClaim"


class PartitionedUpdate(Strict, frozen=True):
    partition: Literal[0] = 0  # a site has no older revision to keep some of the Pods at
    max_unavailable: int | str = 1


class StatefulStrategy(Strict, frozen=True):
    type: Literal["RollingUpdate"] = "RollingUpdate"
    rolling_update: PartitionedUpdate = PartitionedUpdate()


class Retention(Strict, frozen=True):
    """Data outlives what used it: nothing else can be said here."""

    when_deleted: Literal["Retain"] = "Retain"
    when_scaled: Literal["Retain"] = "Retain"


class StatefulSetSpec(Strict, frozen=True):
    template: PodTemplate
    replicas: int = 1
    selector: Selector = Selector()
    service_name: str = ""
    pod_management_policy: Literal["OrderedReady", "Parallel"] = "OrderedReady"
    update_strategy: StatefulStrategy = StatefulStrategy()
    volume_claim_templates: tuple[ClaimTemplate, ...] = ()
    persistent_volume_claim_retention_policy: Retention = Retention()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


def stateful_set(key: ResourceKey, body: dict[str, Any]) -> Workload:
    read = document(body, "apps/v1")
    spec = shaped(read.spec, StatefulSetSpec, "spec")
    problems = template_problems(spec.template, spec.selector, spec.min_ready_seconds)
    problems += replica_problems(spec.replicas)
    at_once = replicas_of(spec.update_strategy.rolling_update.max_unavailable, spec.replicas)
    if at_once is None or (at_once == 0 and spec.update_strategy.rolling_update.max_unavailable in (0, "0%", "0")):
        path = "spec.updateStrategy.rollingUpdate.maxUnavailable"
        problems.append(Problem("a number of 1 or more, or a percentage up to 100%", path=path))
    if spec.service_name and not is_name(spec.service_name):
        problems.append(Problem("not the name of a Service", path="spec.serviceName"))
    if len(spec.volume_claim_templates) > MAX_TEMPLATES:
        problems.append(Problem(f"more than {MAX_TEMPLATES}", path="spec.volumeClaimTemplates"))
    for number, template in enumerate(spec.volume_claim_templates):
        path = f"spec.volumeClaimTemplates[{number}]"
        if not is_name(template.metadata.name):
            problems.append(Problem("not a name", path=f"{path}.metadata.name"))
        problems += claim_problems(template.spec, f"{path}.spec")
    names = [template.metadata.name for template in spec.volume_claim_templates]
    if len(set(names)) < len(names):
        problems.append(Problem("a name occurs twice", path="spec.volumeClaimTemplates"))
    if problems:
        refuse(problems, reason="BadStatefulSet")
    return msgspec.structs.replace(
        lasting_pods(key, "StatefulSet", read, spec.template, spec.min_ready_seconds),
        replicas=spec.replicas,
        at_once=max(1, at_once or 1),
        in_order=spec.pod_management_policy == "OrderedReady",
        claims=tuple(
            (each.metadata.name, whole_bytes(each.spec.resources.requests["storage"]))
            for each in spec.volume_claim_templates
        ),
        subdomain=spec.service_name,
    )
