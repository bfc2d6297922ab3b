"""From a resource to its workload, whatever its kind."""

from typing import Any

from holdfast_protocol.kinds.pods.deployment import daemon_set, deployment
from holdfast_protocol.kinds.pods.podspec import PodSpec
from holdfast_protocol.kinds.pods.shape import shaped
from holdfast_protocol.kinds.pods.stateful_set import stateful_set
from holdfast_protocol.kinds.pods.workload import Workload, document
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Pod")  # whose Pods are to stay


def workload(resource: Resource) -> Workload:
    """Return what a resource asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    read = {"Deployment": deployment, "StatefulSet": stateful_set, "DaemonSet": daemon_set, "Pod": pod}
    return read[resource.kind](resource.key, resource.body)


def pod(key: ResourceKey, body: dict[str, Any]) -> Workload:
    read = document(body, "v1")
    return Workload(
        key=key,
        kind="Pod",
        name=read.metadata.name,
        namespace=read.metadata.namespace,
        labels=read.metadata.labels,
        annotations=read.metadata.annotations,
        pod=shaped(read.spec, PodSpec, "spec"),
        where="spec",
    )
