"""One container's part of a Pod in the words of the engine's create call. Pure; what does not fit was refused before."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods import environment
from holdfast_protocol.kinds.pods.contents import Sources
from holdfast_protocol.kinds.pods.podspec import ConfigMapVolume, Container, PodSpec, SecretVolume, Volume
from holdfast_protocol.kinds.pods.quantities import nano_cpus, whole_bytes
from holdfast_protocol.kinds.pods.service import ServicePort

_RESTART: Final = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}


class File(msgspec.Struct, frozen=True):
    path: str  # below its volume
    content: bytes
    mode: int


def restart_policy(pod: PodSpec, *, init: bool) -> str:
    """Return the engine's policy, so that containers come back with the agent dead and after a reboot."""
    if init and pod.restart_policy == "Always":
        return "on-failure"
    return _RESTART[pod.restart_policy]


def job_restart_policy(pod: PodSpec, retries: int) -> dict[str, Any]:
    """Return the policy of a container that is to end: with OnFailure the engine tries again, so many times."""
    if pod.restart_policy == "OnFailure" and retries:
        return {"Name": "on-failure", "MaximumRetryCount": retries}
    return {"Name": "no"}


def container_config(container: Container, variables: dict[str, str], pod: PodSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Image": container.image,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "StopTimeout": pod.termination_grace_period_seconds,
        "HostConfig": _limits(container) | _security(container, pod),
    }
    if container.command:  # lists all the way: [inv: no-shell-strings]
        config["Entrypoint"] = [environment.expanded(text, variables) for text in container.command]
    if container.args:
        config["Cmd"] = [environment.expanded(text, variables) for text in container.args]
    if container.working_dir:
        config["WorkingDir"] = container.working_dir
    if container.stdin:
        config["OpenStdin"] = True
    if container.tty:
        config["Tty"] = True
    user, group = (
        own if own is not None else of_pod
        for own, of_pod in (
            (container.security_context.run_as_user, pod.security_context.run_as_user),
            (container.security_context.run_as_group, pod.security_context.run_as_group),
        )
    )
    if user is not None:
        config["User"] = f"{user}:{group}" if group is not None else str(user)
    return config


def _limits(container: Container) -> dict[str, Any]:
    limits, requests = container.resources.limits, container.resources.requests
    host: dict[str, Any] = {}
    if "memory" in limits:
        host["Memory"] = host["MemorySwap"] = whole_bytes(limits["memory"])  # equal: no swap beyond it
    if "memory" in requests:
        host["MemoryReservation"] = whole_bytes(requests["memory"])
    if "cpu" in limits:
        host["NanoCpus"] = nano_cpus(limits["cpu"])
    share = requests.get("cpu", limits.get("cpu"))
    if share is not None:
        host["CpuShares"] = max(2, nano_cpus(share) * 1024 // 1_000_000_000)
    return host


def _security(container: Container, pod: PodSpec) -> dict[str, Any]:
    context = container.security_context
    host: dict[str, Any] = {}
    if context.privileged:
        host["Privileged"] = True
    if context.read_only_root_filesystem:
        host["ReadonlyRootfs"] = True
    if context.capabilities.add:
        host["CapAdd"] = sorted(name.removeprefix("CAP_") for name in context.capabilities.add)
    if context.capabilities.drop:
        host["CapDrop"] = sorted(name.removeprefix("CAP_") for name in context.capabilities.drop)
    options = [] if context.allow_privilege_escalation else ["no-new-privileges"]
    seccomp = context.seccomp_profile or pod.security_context.seccomp_profile
    if seccomp and seccomp.type == "Unconfined":
        options.append("seccomp=unconfined")
    armor = context.app_armor_profile or pod.security_context.app_armor_profile
    if armor and armor.type != "RuntimeDefault":
        options.append(f"apparmor={armor.localhost_profile or 'unconfined'}")
    if options:
        host["SecurityOpt"] = options
    if pod.security_context.supplemental_groups:
        host["GroupAdd"] = [str(group) for group in pod.security_context.supplemental_groups]
    return host


def needs_other_user(container: Container, pod: PodSpec) -> bool:
    own = container.security_context.run_as_non_root
    return bool(pod.security_context.run_as_non_root if own is None else own)


def put_network(
    config: dict[str, Any], pod: PodSpec, pod_name: str, *, publish: bool, node_ports: Sequence[ServicePort] = ()
) -> None:
    if pod.host_network:
        config["HostConfig"]["NetworkMode"] = "host"
        return
    config["Hostname"] = pod.hostname or pod_name.replace(".", "-")[:63].strip("-")
    if not publish:
        return
    exposed: dict[str, Any] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for container in pod.containers:  # the first container's network is the Pod's, so it publishes for all
        for port in container.ports:
            name = f"{port.container_port}/{port.protocol.lower()}"
            exposed[name] = {}
            if port.host_port:
                bindings.setdefault(name, []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    for each in node_ports:
        name = f"{each.port}/{each.protocol.lower()}"
        exposed[name] = {}
        bindings.setdefault(name, []).append({"HostIp": "", "HostPort": str(each.node_port)})
    if exposed:
        config["ExposedPorts"] = exposed
    if bindings:
        config["HostConfig"]["PortBindings"] = bindings


_DEVICES: Final = ("CharDevice", "BlockDevice")


def devices(container: Container, pod: PodSpec) -> list[dict[str, Any]]:
    """Return the machine's devices a container gets: what a hostPath of a device's type means, with leave to use it."""
    volumes = {volume.name: volume.host_path for volume in pod.volumes}
    return [
        {
            "PathOnHost": source.path,
            "PathInContainer": mount.mount_path,
            "CgroupPermissions": "r" if mount.read_only else "rw",
        }
        for mount in container.volume_mounts
        if (source := volumes[mount.name]) and source.type in _DEVICES
    ]


def mounts(container: Container, pod: PodSpec, folder: str, claims: str) -> list[dict[str, Any]]:
    """Return the binds of a container; `folder` is its Pod's, `claims` holds one for each claim of the namespace."""
    volumes = {volume.name: volume for volume in pod.volumes}
    entries: list[dict[str, Any]] = []
    for mount in container.volume_mounts:
        volume = volumes[mount.name]
        if volume.host_path and volume.host_path.type in _DEVICES:
            continue
        entry: dict[str, Any] = {"Type": "bind", "Target": mount.mount_path, "ReadOnly": mount.read_only}
        if volume.host_path:
            entry["Source"] = volume.host_path.path
        elif volume.persistent_volume_claim:
            entry["Source"] = f"{claims}/{volume.persistent_volume_claim.claim_name}/data"
            entry["ReadOnly"] = mount.read_only or volume.persistent_volume_claim.read_only
        elif volume.empty_dir and volume.empty_dir.medium == "Memory":
            limit = volume.empty_dir.size_limit
            size = {} if limit is None else {"SizeBytes": whole_bytes(limit)}
            entry |= {"Type": "tmpfs", "TmpfsOptions": {"Mode": 0o777, **size}}
        else:
            entry["Source"] = "/".join(part for part in (folder, volume.name, mount.sub_path.strip("/")) if part)
            entry["ReadOnly"] = mount.read_only or not volume.empty_dir
        entries.append(entry)
    return entries


def volume_files(
    source: ConfigMapVolume | SecretVolume | None,
    volume: Volume,
    found: Sources,
    where: str,
    problems: list[Problem],
) -> tuple[File, ...]:
    if source is None:
        return ()
    name = source.name if isinstance(source, ConfigMapVolume) else source.secret_name
    values = found.get("ConfigMap" if volume.config_map else "Secret", name)
    if source.items is None:
        return tuple(File(key, content, source.default_mode) for key, content in sorted(values.items()))
    files = []
    for number, item in enumerate(source.items):
        if item.key in values:
            mode = source.default_mode if item.mode is None else item.mode
            files.append(File(item.path.rstrip("/"), values[item.key], mode))
        elif not source.optional:
            path = f"{where}.{'configMap' if volume.config_map else 'secret'}.items[{number}].key"
            problems.append(Problem(f"{name} has no key {item.key[:80]!r}", path=path))
    paths = {file.path for file in files}
    if len(paths) < len(files) or any(other.startswith(path + "/") for path in paths for other in paths):
        problems.append(Problem("two items want the same path", path=where))
    return tuple(files)
