"""From a workload to what the engine is asked for: pure translation, one plan for each Pod, the same for the same inputs.

[inv: same-inputs-same-plan]
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_edge.providers.container import environment, translation
from holdfast_edge.providers.container.contents import Sources, referred
from holdfast_edge.providers.container.podspec import Container, PullPolicy
from holdfast_edge.providers.container.shape import refuse
from holdfast_edge.providers.container.translation import File
from holdfast_edge.providers.container.workload import Workload
from holdfast_protocol.errors import Problem
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire.names import Digest, ResourceKey, SiteName

SITE: Final = "holdfast.io/site"
RESOURCE: Final = "holdfast.io/resource"
DIGEST: Final = "holdfast.io/digest"
REPLICA: Final = "holdfast.io/replica"
CONTAINER: Final = "holdfast.io/container"


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


def identity(site: SiteName, key: ResourceKey, name: str) -> str:
    """Return a folder's name for a resource: readable, and its own whatever the names are."""
    return f"{name[:40]}-{_short(site, key)}"


def container_name(site: SiteName, workload: Workload, replica: int, container: str) -> str:
    """Return a container's name at the engine. The hash keeps apart what joining with hyphens would not."""
    readable = f"hf-{workload.name[:63]}-{replica}-{container}"
    return f"{readable}-{_short(site, workload.key, str(replica), container)}"


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def revision(workload: Workload, found: Sources) -> Digest:
    """Return the digest of what a container is made from: a change of it, and only that, replaces the Pods.

    Probes and pull policies are the agent's affair and count for nothing here; neither does the number of replicas.
    """
    pod = msgspec.structs.replace(
        workload.pod,
        containers=[_lasting(container) for container in workload.pod.containers],
        init_containers=[_lasting(container) for container in workload.pod.init_containers],
    )
    of_template = workload.key.startswith("Deployment/")
    return digests.digest(
        {
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


def _identity(workload: Workload, replica: int) -> environment.Identity:
    return environment.Identity(
        workload.pod_name(replica), workload.namespace or "default", workload.labels, workload.annotations
    )


def plans(workload: Workload, found: Sources, site: SiteName, volumes: str) -> tuple[PodPlan, ...]:
    """Return one plan for each replica; `volumes` is the folder for Pods' folders.

    Raises PermanentError (BadPod) for variables and volumes that cannot be made from what they refer to.
    """
    problems: list[Problem] = []
    files = {
        volume.name: translation.volume_files(
            volume.config_map or volume.secret, volume, found, f"{workload.where}.volumes[{n}]", problems
        )
        for n, volume in enumerate(workload.pod.volumes)
        if volume.config_map or volume.secret
    }
    digest = revision(workload, found)
    folder = f"{volumes}/{identity(site, workload.key, workload.name)}"
    pods = tuple(
        _pod_plan(workload, found, site, replica, digest, f"{folder}/{replica}-{digest[:12]}", files, problems)
        for replica in range(max(1, workload.replicas))
    )
    if problems:
        refuse(problems, reason="BadPod")
    return pods[: workload.replicas]


def _pod_plan(
    workload: Workload,
    found: Sources,
    site: SiteName,
    replica: int,
    digest: Digest,
    folder: str,
    files: Mapping[str, tuple[File, ...]],
    problems: list[Problem],
) -> PodPlan:
    pod = workload.pod

    def planned(container: Container, path: str, *, init: bool, first: bool) -> ContainerPlan:
        where = f"{workload.where}.{path}"
        identity = _identity(workload, replica)
        variables, wrong = environment.variables(container, found, identity, where)
        problems.extend(wrong if replica == 0 else ())
        config = translation.container_config(container, variables, pod)
        config["Labels"] = workload.labels | {
            SITE: site,
            RESOURCE: workload.key,
            DIGEST: digest,
            REPLICA: str(replica),
            CONTAINER: container.name,
        }
        config["HostConfig"]["Mounts"] = translation.mounts(container, pod, folder)
        config["HostConfig"]["RestartPolicy"] = {"Name": translation.restart_policy(pod, init=init)}
        if first or init or pod.host_network:
            translation.put_network(config, pod, workload.pod_name(replica), publish=first)
        user = container.security_context.run_as_user
        return ContainerPlan(
            name=container_name(site, workload, replica, container.name),
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

    return PodPlan(
        replica=replica,
        digest=digest,
        folder=folder,
        init=tuple(
            planned(each, f"initContainers[{n}]", init=True, first=False) for n, each in enumerate(pod.init_containers)
        ),
        containers=tuple(
            planned(each, f"containers[{n}]", init=False, first=n == 0) for n, each in enumerate(pod.containers)
        ),
        files=files,
        folders=tuple(each.name for each in pod.volumes if each.empty_dir and each.empty_dir.medium != "Memory"),
        host_paths=tuple((each.host_path.path, each.host_path.type) for each in pod.volumes if each.host_path),
    )


def default_pull_policy(image: str) -> PullPolicy:
    """Return Kubernetes' default: Always for the tag `latest` or none, IfNotPresent otherwise and for digests."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"
