"""From a workload to what the engine is asked for: pure translation, one plan for each Pod, the same for the same inputs.

[inv: same-inputs-same-plan]
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods import environment, translation
from holdfast_protocol.kinds.pods.contents import Sources, referred
from holdfast_protocol.kinds.pods.podspec import Container, PullPolicy
from holdfast_protocol.kinds.pods.service import Service
from holdfast_protocol.kinds.pods.shape import refuse
from holdfast_protocol.kinds.pods.translation import File
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire.names import Digest, ResourceKey, SiteName

SITE: Final = "holdfast.io/site"
RESOURCE: Final = "holdfast.io/resource"
DIGEST: Final = "holdfast.io/digest"
REPLICA: Final = "holdfast.io/replica"
CONTAINER: Final = "holdfast.io/container"
RUN: Final = "holdfast.io/run"  # of a Job's Pod: which run it belongs to
INITIAL: Final = "holdfast.io/initial"  # of initContainers
SIBLINGS: Final = "holdfast.io/siblings"  # of a Job's containers: how many its Pod has
INDEX: Final = "holdfast.io/index"  # of a Job's Pod: which of its completions


class ContainerPlan(msgspec.Struct, frozen=True):
    """One container: `config` is the body of the engine's create call, its network apart when `joins` is set."""

    name: str  # at the engine
    container: str
    image: str
    pull: PullPolicy
    config: dict[str, Any]
    source: Container
    joins: bool = False  # the network of the Pod's first container
    non_root: bool = False  # the image's own user decides, and must not be root

    @property
    def host(self) -> dict[str, Any]:
        host: dict[str, Any] = self.config["HostConfig"]
        return host


class Surroundings(msgspec.Struct, frozen=True):
    """What of the site a Pod's plan depends on: folders (`claims` of all namespaces) and the Services that select it."""

    volumes: str
    claims: str
    services: tuple[Service, ...] = ()
    named: bool = False  # the site has Services: its Pods are to find one another


class Part(msgspec.Struct, frozen=True):
    """What sets one Pod of a Job apart from the others."""

    pod_name: str
    run: str = ""
    index: int = 0
    indexed: bool = False
    retries: int = 0  # of a container, by the engine


class PodPlan(msgspec.Struct, frozen=True):
    """One Pod: its containers, and the folder that lives and dies with it."""

    replica: int
    digest: Digest
    folder: str
    init: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    files: Mapping[str, tuple[File, ...]]  # by volume, read-only
    folders: tuple[str, ...]  # empty volumes
    host_paths: tuple[tuple[str, str], ...]  # (path, type)
    claims: tuple[
        tuple[str, int, ResourceKey], ...
    ] = ()  # (folder, bytes asked for, owner) of the volumes that are its own
    aliases: tuple[str, ...] = ()  # what the site's other Pods call it
    networked: bool = False  # it is to reach other Pods by the names of Services


def identity(site: SiteName, key: ResourceKey, name: str) -> str:
    """Return a folder's name for a resource: readable, and its own whatever the names are."""
    return f"{name[:40]}-{_short(site, key)}"


def container_name(site: SiteName, workload: Workload, replica: int, container: str, run: str = "") -> str:
    """Return a container's name at the engine. The hash keeps apart what joining with hyphens would not."""
    readable = f"hf-{workload.name[:63]}-{replica}-{container}"
    key = f"{workload.key}@{run}" if run else workload.key
    return f"{readable}-{_short(site, key, str(replica), container)}"


def folder_name(replica: str, digest: str, run: str = "") -> str:
    """Return the name of a Pod's folder in that of its resource."""
    return f"{run}-{replica}-{digest[:12]}" if run else f"{replica}-{digest[:12]}"


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def revision(workload: Workload, found: Sources, services: Sequence[Service] = ()) -> Digest:
    """Return the digest of what a container is made from: a change of it, and only that, replaces the Pods.

    Probes and pull policies are the agent's affair and count for nothing here; neither does the number of replicas.
    """
    pod = msgspec.structs.replace(
        workload.pod,
        containers=[_lasting(container) for container in workload.pod.containers],
        init_containers=[_lasting(container) for container in workload.pod.init_containers],
        image_pull_secrets=[],
    )
    of_template = workload.kind != "Pod"
    published = [[port.port, port.protocol, port.node_port] for each in services for port in each.node_ports]
    return digests.digest(
        ({"claims": [name for name, _ in workload.claims]} if workload.claims else {})
        | ({"published": sorted(published)} if published else {})
        | {
            "pod": msgspec.to_builtins(pod),
            "labels": workload.labels,
            "annotations": {
                key: value
                for key, value in workload.annotations.items()
                if of_template or key in environment.annotations_used(workload.pod)  # others are notes to people
            },
            "contents": referred(workload.pod, found),
        }
    )


def _lasting(container: Container) -> Container:
    return msgspec.structs.replace(
        container, liveness_probe=None, readiness_probe=None, startup_probe=None, image_pull_policy=None
    )


def _identity(workload: Workload, pod_name: str) -> environment.Identity:
    return environment.Identity(pod_name, workload.namespace or "default", workload.labels, workload.annotations)


def plans(workload: Workload, found: Sources, site: SiteName, around: Surroundings) -> tuple[PodPlan, ...]:
    """Return one plan for each replica.

    Raises PermanentError (BadPod) for variables and volumes that cannot be made from what they refer to.
    """
    digest = revision(workload, found, around.services)
    made = [pod_plan(workload, found, site, replica, digest, around) for replica in range(max(1, workload.replicas))]
    return tuple(made[: workload.replicas])


def pod_plan(
    workload: Workload,
    found: Sources,
    site: SiteName,
    replica: int,
    digest: Digest,
    around: Surroundings,
    part: Part | None = None,
) -> PodPlan:
    """Return the plan of one Pod; `part` is given for a Job's. Raises as `plans`."""
    problems: list[Problem] = []
    pod = workload.pod_of(replica)
    folder = f"{around.volumes}/{identity(site, workload.key, workload.name)}/"
    folder += folder_name(str(replica), digest, part.run if part else "")
    claims = f"{around.claims}/{workload.namespace or '_'}"
    identity_of = _identity(workload, part.pod_name if part else workload.pod_name(replica))

    def planned(container: Container, path: str, *, init: bool, first: bool) -> ContainerPlan:
        where = f"{workload.where}.{path}"
        variables, wrong = environment.variables(container, found, identity_of, where)
        problems.extend(wrong)
        if part is not None and part.indexed:
            variables["JOB_COMPLETION_INDEX"] = str(part.index)
        config = translation.container_config(container, variables, pod)
        config["Labels"] = workload.labels | {
            SITE: site,
            RESOURCE: workload.key,
            DIGEST: digest,
            REPLICA: str(replica),
            CONTAINER: container.name,
        }
        config["Labels"] |= {INITIAL: "true"} if init else {}
        host = config["HostConfig"]
        host["Mounts"] = translation.mounts(container, pod, folder, claims)
        host["RestartPolicy"] = {"Name": translation.restart_policy(pod, init=init)}
        if part is not None:
            config["Labels"] |= {RUN: part.run, INDEX: str(part.index), SIBLINGS: str(len(pod.containers))}
            host["RestartPolicy"] = translation.job_restart_policy(pod, part.retries)
        if devices := translation.devices(container, pod):
            host["Devices"] = devices
        if first or init or pod.host_network:
            ports = [port for each in around.services for port in each.node_ports]
            translation.put_network(config, pod, identity_of.name, publish=first, node_ports=ports)
        user = container.security_context.run_as_user
        return ContainerPlan(
            name=container_name(site, workload, replica, container.name, part.run if part else ""),
            container=container.name,
            image=container.image,
            pull=container.image_pull_policy or default_pull_policy(container.image),
            config=config,
            source=container,
            joins=not (first or init or pod.host_network),
            non_root=translation.needs_other_user(container, pod)
            and user is None
            and pod.security_context.run_as_user is None,
        )

    made = PodPlan(
        replica=replica,
        digest=digest,
        folder=folder,
        init=tuple(
            planned(each, f"initContainers[{n}]", init=True, first=False) for n, each in enumerate(pod.init_containers)
        ),
        containers=tuple(
            planned(each, f"containers[{n}]", init=False, first=n == 0) for n, each in enumerate(pod.containers)
        ),
        files={
            volume.name: translation.volume_files(
                volume.config_map or volume.secret, volume, found, f"{workload.where}.volumes[{n}]", problems
            )
            for n, volume in enumerate(pod.volumes)
            if volume.config_map or volume.secret
        },
        folders=tuple(each.name for each in pod.volumes if each.empty_dir and each.empty_dir.medium != "Memory"),
        host_paths=tuple((each.host_path.path, each.host_path.type) for each in pod.volumes if each.host_path),
        claims=tuple(
            (f"{claims}/{workload.claim_name(volume, replica)}", size, workload.key) for volume, size in workload.claims
        ),
        aliases=aliases(workload, identity_of.name, around.services),
        networked=around.named and not pod.host_network,
    )
    if problems:
        refuse(problems, reason="BadPod")
    return made


def aliases(workload: Workload, pod_name: str, services: Sequence[Service]) -> tuple[str, ...]:
    """Return the names a Pod answers to: those of the Services that select it, and its own behind its subdomain's."""
    own = [f"{pod_name}.{alias}" for each in services if each.name == workload.subdomain for alias in each.aliases]
    return tuple(sorted({*own, *(alias for each in services for alias in each.aliases)}))


def default_pull_policy(image: str) -> PullPolicy:
    """Return Kubernetes' default: Always for the tag `latest` or none, IfNotPresent otherwise and for digests."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"
