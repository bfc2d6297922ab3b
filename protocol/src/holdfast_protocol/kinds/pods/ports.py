"""Which ports of the machine a resource takes: for claims, so that no two of one site want the same."""

from typing import Any, Literal

import msgspec

from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.pods.cron_job import cron_job
from holdfast_protocol.kinds.pods.job import job
from holdfast_protocol.kinds.pods.podspec import PodSpec
from holdfast_protocol.kinds.pods.reading import KINDS, workload
from holdfast_protocol.kinds.pods.service import service
from holdfast_protocol.wire.names import resource_key
from holdfast_protocol.wire.target import resource


class HostPort(msgspec.Struct, frozen=True, order=True):
    number: int
    protocol: Literal["TCP", "UDP", "SCTP"]
    address: str = ""  # of the machine; "": all of them


def ports(body: dict[str, Any]) -> tuple[HostPort, ...]:
    """Return the machine's ports that an object takes, sorted; none for other kinds and for what is not well formed."""
    try:
        return tuple(sorted(set(_ports(body))))
    except PermanentError:
        return ()


def _ports(body: dict[str, Any]) -> list[HostPort]:
    kind = str(body.get("kind"))
    if kind in KINDS:
        return _of_pod(workload(resource(body)).pod)
    if kind == "Job":
        return _of_pod(job(resource_key(body), body).workload.pod)
    if kind == "CronJob":
        return _of_pod(cron_job(resource_key(body), body).job.workload.pod)
    if kind == "Service":
        return [HostPort(port.node_port, port.protocol) for port in service(resource_key(body), body).node_ports]
    return []


def _of_pod(pod: PodSpec) -> list[HostPort]:
    return [
        HostPort(port.container_port if pod.host_network else port.host_port, port.protocol, port.host_ip)
        for container in pod.containers
        for port in container.ports
        if port.host_port or pod.host_network
    ]
