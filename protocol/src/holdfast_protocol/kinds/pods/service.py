"""Service: a name by which the site's Pods find one another, and a port of the machine for those outside.

The name leads to the Pods themselves, not to an address in between: so a port is the Pod's own port.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import field

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import Labels, PodSpec, Strict
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import document
from holdfast_protocol.wire.names import ResourceKey, is_name

MAX_PORTS: Final = 100


class ServicePort(Strict, frozen=True):
    port: int
    target_port: int | str | None = None  # a number, or the name of a port of the Pod's containers
    node_port: int = 0
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    name: str = ""


class ServiceSpec(Strict, frozen=True):
    selector: Labels
    ports: tuple[ServicePort, ...] = ()
    type: Literal["ClusterIP", "NodePort"] = "ClusterIP"
    cluster_ip: Literal["", "None"] = field(default="", name="clusterIP")
    session_affinity: Literal["None"] = "None"
    publish_not_ready_addresses: bool = True  # the name leads to a Pod from its start to its end


class Service(msgspec.Struct, frozen=True):
    key: ResourceKey
    name: str
    namespace: str
    selector: Labels
    ports: tuple[ServicePort, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        space = self.namespace or "default"
        return (self.name, f"{self.name}.{space}", f"{self.name}.{space}.svc", f"{self.name}.{space}.svc.cluster.local")

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return namespace == self.namespace and all(labels.get(key) == value for key, value in self.selector.items())

    @property
    def node_ports(self) -> tuple[ServicePort, ...]:
        return tuple(port for port in self.ports if port.node_port)


def service(key: ResourceKey, body: dict[str, Any]) -> Service:
    """Return what a Service asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    read = document(body, "v1")
    spec = shaped(read.spec, ServiceSpec, "spec")
    problems: list[Problem] = []
    if not is_name(read.metadata.name):
        problems.append(Problem("not 1 to 63 lower-case letters, digits and inner hyphens", path="metadata.name"))
    if not spec.selector:
        problems.append(Problem("is needed: a site has no Endpoints of another origin", path="spec.selector"))
    if (not spec.ports and spec.cluster_ip != "None") or len(spec.ports) > MAX_PORTS:
        problems.append(Problem(f"1 to {MAX_PORTS} ports", path="spec.ports"))
    for number, port in enumerate(spec.ports):
        problems += _port_problems(port, spec.type, f"spec.ports[{number}]")
    taken = [(port.protocol, port.node_port) for port in spec.ports if port.node_port]
    if len(set(taken)) < len(taken):
        problems.append(Problem("a nodePort occurs twice", path="spec.ports"))
    if problems:
        refuse(problems, reason="BadService")
    return Service(
        key=key,
        name=read.metadata.name,
        namespace=read.metadata.namespace,
        selector=spec.selector,
        ports=spec.ports,
    )


def _port_problems(port: ServicePort, kind: str, path: str) -> list[Problem]:
    problems = []
    if not 1 <= port.port <= 65_535 or not 0 <= port.node_port <= 65_535:
        problems.append(Problem("ports are 1 to 65535", path=path))
    if isinstance(port.target_port, int) and port.target_port != port.port:
        problems.append(
            Problem(
                f"{port.target_port} is not the port {port.port}: the name leads to the Pod itself, and nothing translates",
                path=f"{path}.targetPort",
                hint=f"make port {port.target_port} too",
            )
        )
    if (kind == "NodePort") != bool(port.node_port):
        problems.append(
            Problem(
                "is needed with type NodePort: nobody picks one at a site"
                if kind == "NodePort"
                else "only with type NodePort",
                path=f"{path}.nodePort",
            )
        )
    return problems


def misled(asked: Service, pod: PodSpec) -> list[Problem]:
    """Return the ports whose name a selected Pod gives another number than the Service's port, or to nothing."""
    named = {each.name: each.container_port for container in pod.containers for each in container.ports if each.name}
    problems = []
    for number, port in enumerate(asked.ports):
        if isinstance(port.target_port, str) and named.get(port.target_port) != port.port:
            there = named.get(port.target_port)
            what = (
                "no port of the Pod has this name"
                if there is None
                else f"it is {there} in the Pod, and not {port.port}"
            )
            problems.append(
                Problem(
                    what,
                    path=f"spec.ports[{number}].targetPort",
                    hint="" if there is None else f"make port {there} too: the name leads to the Pod itself",
                )
            )
    return problems


def selecting(services: Iterable[Service], namespace: str, labels: Mapping[str, str]) -> tuple[Service, ...]:
    """Return the Services that select Pods with these labels, by name."""
    return tuple(sorted((s for s in services if s.selects(namespace, labels)), key=lambda each: each.name))
