"""What of a Pod a site admits: what is wrong in itself, what this site does not allow, what an engine cannot do."""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import (
    Container,
    PodSecurityContext,
    PodSpec,
    Port,
    Probe,
    SecurityContext,
    Volume,
    VolumeMount,
)
from holdfast_protocol.kinds.pods.quantities import nano_cpus, whole_bytes
from holdfast_protocol.kinds.pods.shape import refuse
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.wire.names import is_name

MAX_CONTAINERS: Final = 16  # of one Pod
MAX_ENTRIES: Final = 1_000  # of any list of a container
MAX_SECONDS: Final = 86_400  # of any time a Pod states
# What the baseline of the Kubernetes Pod Security Standards lets a container add.
BASELINE: Final = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_CAPABILITY: Final = re.compile(r"[A-Z][A-Z_]{1,40}")
_IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9][-.A-Za-z0-9]*(?::[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_ADDRESS: Final = re.compile(r"[0-9a-fA-F.:]{2,45}")
_HEADER: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,100}")
_PROFILE: Final = re.compile(r"[A-Za-z0-9][-._/A-Za-z0-9]{0,200}")  # of AppArmor
_LABEL: Final = re.compile(r"[-._/A-Za-z0-9]{1,317}")


class Rules(msgspec.Struct, frozen=True):
    """What this site allows. `state` is the agent's own folder: never mountable, whatever the roots say."""

    host_paths: tuple[str, ...] = ()
    privileged: bool = False
    state: str = ""


class Findings:
    """Collects what is wrong, what is not allowed and what is not possible, each with its path below `where`."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: dict[str, list[Problem]] = {"BadPod": [], "NotAllowed": [], "UnsupportedField": []}

    def wrong(self, path: str, message: str, hint: str = "") -> None:
        self._add("BadPod", path, message, hint)

    def forbidden(self, path: str, message: str, hint: str = "") -> None:
        self._add("NotAllowed", path, message, hint)

    def impossible(self, path: str, message: str, hint: str = "") -> None:
        self._add("UnsupportedField", path, message, hint)

    def _add(self, reason: str, path: str, message: str, hint: str) -> None:
        self.found[reason].append(Problem(message, path=f"{self.where}.{path}", hint=hint))

    def refuse_any(self) -> None:
        """Raise PermanentError or UnsupportedError with everything found; its reason is that of the gravest."""
        everything = [problem for problems in self.found.values() for problem in problems]
        for reason, problems in self.found.items():
            if problems:
                refuse(everything, reason=reason, unsupported=reason == "UnsupportedField")


def admit(workload: Workload, rules: Rules) -> None:
    """Raise for a workload this site could never run, naming every path at once."""
    findings = Findings(workload.where)
    pod = workload.pod_of(0)
    for label in workload.labels:
        if not _LABEL.fullmatch(label) or label.startswith("holdfast.io/"):
            findings.wrong(f"labels.{label[:80]!r}", "not a label's name, or one of our own")
    _pod(pod, workload.replicas, findings)
    for field, containers in (("initContainers", pod.init_containers), ("containers", pod.containers)):
        for index, container in enumerate(containers):
            _container(container, f"{field}[{index}]", pod, rules, findings)
    for index, container in enumerate(pod.init_containers):
        if container.liveness_probe or container.readiness_probe or container.startup_probe:
            findings.wrong(f"initContainers[{index}]", "probes are for containers that stay")
    for index, volume in enumerate(pod.volumes):
        _volume(volume, f"volumes[{index}]", rules, findings)
    _security(pod.security_context, "securityContext", rules, findings)
    findings.refuse_any()


def _pod(pod: PodSpec, replicas: int, findings: Findings) -> None:
    if not pod.containers or len(pod.containers) + len(pod.init_containers) > MAX_CONTAINERS:
        findings.wrong("containers", f"1 to {MAX_CONTAINERS} containers, initContainers included")
    names = [container.name for container in (*pod.init_containers, *pod.containers)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.wrong("containers", f"the name {name[:80]!r} occurs twice")
    volumes = [volume.name for volume in pod.volumes]
    for name in sorted({name for name in volumes if volumes.count(name) > 1}):
        findings.wrong("volumes", f"the name {name[:80]!r} occurs twice")
    mounted = [mount.name for container in (*pod.init_containers, *pod.containers) for mount in container.volume_mounts]
    for index, volume in enumerate(pod.volumes):
        if volume.empty_dir and volume.empty_dir.medium == "Memory" and mounted.count(volume.name) > 1:
            findings.impossible(f"volumes[{index}].emptyDir.medium", "Memory cannot be shared by containers here")
    if not 0 <= pod.termination_grace_period_seconds <= 3600:
        findings.wrong("terminationGracePeriodSeconds", "0 to 3600 seconds")
    if pod.hostname and not is_name(pod.hostname):
        findings.wrong("hostname", "not 1 to 63 lower-case letters, digits and inner hyphens")
    if pod.hostname and pod.host_network:
        findings.wrong("hostname", "with hostNetwork the name is the host's")
    for field, value in (
        ("automountServiceAccountToken", pod.automount_service_account_token),
        ("enableServiceLinks", pod.enable_service_links),
    ):
        if value:
            findings.impossible(field, "there is no cluster at a site", hint=f"set {field}: false")
    taken: set[tuple[str, str, int]] = set()
    for path, port in published(pod):
        address = (port.protocol, port.host_ip, port.host_port)
        if address in taken:
            findings.wrong(path, f"host port {port.host_port} is taken twice")
        taken.add(address)
        if replicas > 1 and port.host_port:
            findings.wrong(path, f"{replicas} replicas cannot share host port {port.host_port} on one node")


def published(pod: PodSpec) -> Iterator[tuple[str, Port]]:
    """Yield the ports that take one of the host's, with their paths."""
    for index, container in enumerate(pod.containers):
        for number, port in enumerate(container.ports):
            if port.host_port:
                yield f"containers[{index}].ports[{number}]", port


def _container(container: Container, path: str, pod: PodSpec, rules: Rules, findings: Findings) -> None:
    if not is_name(container.name):
        findings.wrong(f"{path}.name", "not 1 to 63 lower-case letters, digits and inner hyphens")
    if len(container.image) > 512 or not _IMAGE.fullmatch(container.image):
        findings.wrong(
            f"{path}.image",
            f"{container.image[:80]!r} is not an image reference",
            hint="registry/name:tag, the name in lower case",
        )
    for field, entries in (("env", container.env), ("envFrom", container.env_from), ("ports", container.ports)):
        if len(entries) > MAX_ENTRIES:
            findings.wrong(f"{path}.{field}", f"more than {MAX_ENTRIES} entries")
    if container.working_dir and not container.working_dir.startswith("/"):
        findings.wrong(f"{path}.workingDir", "not an absolute path")
    if any("\0" in text for text in (*container.command, *container.args, container.working_dir)):
        findings.wrong(f"{path}.command", "holds a NUL")
    _ports(container, path, pod, findings)
    _resources(container, path, findings)
    _mounts(container.volume_mounts, path, pod, findings)
    _security(container.security_context, f"{path}.securityContext", rules, findings)
    for field, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe:
            _probe(probe, f"{path}.{field}", container, pod, findings)


def _ports(container: Container, path: str, pod: PodSpec, findings: Findings) -> None:
    for number, port in enumerate(container.ports):
        where = f"{path}.ports[{number}]"
        if not 1 <= port.container_port <= 65_535 or not 0 <= port.host_port <= 65_535:
            findings.wrong(where, "ports are 1 to 65535")
        if pod.host_network and port.host_port not in (0, port.container_port):
            findings.wrong(f"{where}.hostPort", "with hostNetwork it is the containerPort")
        if port.host_ip and not _ADDRESS.fullmatch(port.host_ip):
            findings.wrong(f"{where}.hostIP", f"{port.host_ip[:80]!r} is not an address")


def _resources(container: Container, path: str, findings: Findings) -> None:
    read = {"cpu": nano_cpus, "memory": whole_bytes}
    amounts: dict[tuple[str, str], int] = {}
    for field, quantities in (("limits", container.resources.limits), ("requests", container.resources.requests)):
        for name, quantity in quantities.items():
            where = f"{path}.resources.{field}.{name[:80]}"
            if name not in read:
                findings.impossible(where, "an engine knows cpu and memory")
                continue
            try:
                amounts[field, name] = read[name](quantity)
            except ValueError as error:
                findings.wrong(where, str(error))
                continue
            if not 0 < amounts[field, name] < 2**63:
                findings.wrong(where, "must be more than nothing and fit 64 bits")
    for name in read:
        limit = amounts.get(("limits", name))
        if limit is not None and amounts.get(("requests", name), 0) > limit:
            findings.wrong(f"{path}.resources.requests.{name}", "more than the limit")


def _mounts(mounts: list[VolumeMount], path: str, pod: PodSpec, findings: Findings) -> None:
    volumes = {volume.name: volume for volume in pod.volumes}
    targets: set[str] = set()
    for number, mount in enumerate(mounts):
        where = f"{path}.volumeMounts[{number}]"
        volume = volumes.get(mount.name)
        if volume is None:
            findings.wrong(f"{where}.name", f"there is no volume {mount.name[:80]!r}")
        if not is_plain_path(mount.mount_path) or mount.mount_path == "/":
            findings.wrong(f"{where}.mountPath", "not an absolute path below / without '..'")
        if posixpath.normpath(mount.mount_path) in targets:
            findings.wrong(f"{where}.mountPath", "mounted twice")
        targets.add(posixpath.normpath(mount.mount_path))
        if not mount.sub_path:
            continue
        if not is_plain_path("/" + mount.sub_path):
            findings.wrong(f"{where}.subPath", "not a relative path without '..'")
        if volume is not None and not (volume.config_map or volume.secret):
            findings.impossible(
                f"{where}.subPath",
                "only in configMap and secret volumes: elsewhere the container could turn it into a link out of it",
            )


def is_plain_path(path: str) -> bool:
    """Return whether `path` is absolute and means what it says: no '..', no '.', no NUL, at most 4096 characters."""
    parts = path.rstrip("/").split("/")
    return path.startswith("/") and len(path) <= 4096 and "\0" not in path and not {"..", "."} & set(parts)


def _volume(volume: Volume, path: str, rules: Rules, findings: Findings) -> None:
    if not is_name(volume.name):
        findings.wrong(f"{path}.name", "not 1 to 63 lower-case letters, digits and inner hyphens")
    sources = (volume.empty_dir, volume.host_path, volume.config_map, volume.secret, volume.persistent_volume_claim)
    if len([source for source in sources if source is not None]) != 1:
        findings.wrong(path, "exactly one of emptyDir, hostPath, configMap, secret and persistentVolumeClaim is needed")
    if volume.empty_dir and volume.empty_dir.size_limit is not None:
        try:
            whole_bytes(volume.empty_dir.size_limit)
        except ValueError as error:
            findings.wrong(f"{path}.emptyDir.sizeLimit", str(error))
        if volume.empty_dir.medium != "Memory":
            findings.impossible(
                f"{path}.emptyDir.sizeLimit", "a folder on disk has no limit of its own", hint="use medium: Memory"
            )
    if volume.host_path:
        _host_path(volume.host_path.path, f"{path}.hostPath.path", rules, findings)
    for field, source in (("configMap", volume.config_map), ("secret", volume.secret)):
        if source is None:
            continue
        modes = [(f"{path}.{field}.defaultMode", source.default_mode)]
        for number, item in enumerate(source.items or ()):
            where = f"{path}.{field}.items[{number}]"
            modes.append((f"{where}.mode", item.mode if item.mode is not None else 0))
            if not is_plain_path("/" + item.path) or not item.path or item.path.startswith("/"):
                findings.wrong(f"{where}.path", "not a relative path without '..'")
        for where, mode in modes:
            if not 0 <= mode <= 0o777:
                findings.wrong(where, f"{mode} is not a mode: 0 to 511", hint="0644 is 420 in decimal")


def _host_path(path: str, where: str, rules: Rules, findings: Findings) -> None:
    if not is_plain_path(path):
        findings.wrong(where, "not an absolute path without '..'")
    elif not any(is_within(path, root) for root in rules.host_paths):
        findings.forbidden(
            where,
            f"{path[:200]} is outside the folders this site lets containers see",
            hint="add the folder to providers.host_paths in the agent's settings",
        )
    elif rules.state and (is_within(path, rules.state) or is_within(rules.state, path)):
        findings.forbidden(where, "holds the agent's own state")  # [inv: agent-is-never-its-own-casualty]


def is_within(path: str, root: str) -> bool:
    """Return whether one normal absolute path is the other or below it."""
    path, root = posixpath.normpath(path), posixpath.normpath(root)
    return path == root or root == "/" or path.startswith(root + "/")


def _security(context: SecurityContext | PodSecurityContext, path: str, rules: Rules, findings: Findings) -> None:
    allow = "set providers.privileged in the agent's settings"
    for field, number in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        if number is not None and not 0 <= number < 2**31:
            findings.wrong(f"{path}.{field}", "0 to 2147483647")
    if context.run_as_group is not None and context.run_as_user is None:
        findings.impossible(f"{path}.runAsGroup", "an engine sets a group only beside a user", hint="add runAsUser")
    if context.run_as_non_root and context.run_as_user == 0:
        findings.wrong(f"{path}.runAsNonRoot", "runAsUser is 0")
    if context.seccomp_profile and context.seccomp_profile.type == "Unconfined" and not rules.privileged:
        findings.forbidden(f"{path}.seccompProfile", "Unconfined is not allowed at this site", hint=allow)
    armor = context.app_armor_profile
    if armor and armor.type == "Unconfined" and not rules.privileged:
        findings.forbidden(f"{path}.appArmorProfile", "Unconfined is not allowed at this site", hint=allow)
    if armor and (armor.type == "Localhost") != bool(_PROFILE.fullmatch(armor.localhost_profile)):
        findings.wrong(f"{path}.appArmorProfile.localhostProfile", "the name of a profile, with type Localhost only")
    if isinstance(context, PodSecurityContext):
        if len(context.supplemental_groups) > MAX_ENTRIES or any(
            not 0 <= each < 2**31 for each in context.supplemental_groups
        ):
            findings.wrong(f"{path}.supplementalGroups", "0 to 2147483647 each")
        return
    if context.privileged and not rules.privileged:
        findings.forbidden(f"{path}.privileged", "privileged containers are not allowed at this site", hint=allow)
    for field, names in (("add", context.capabilities.add), ("drop", context.capabilities.drop)):
        for name in names:
            if not _CAPABILITY.fullmatch(name):
                findings.wrong(f"{path}.capabilities.{field}", f"{name[:80]!r} is not a capability such as NET_ADMIN")
    beyond = sorted({name.removeprefix("CAP_") for name in context.capabilities.add} - BASELINE)
    if beyond and not rules.privileged:
        findings.forbidden(
            f"{path}.capabilities.add", f"{', '.join(beyond)[:200]} not allowed at this site", hint=allow
        )


def _probe(probe: Probe, path: str, container: Container, pod: PodSpec, findings: Findings) -> None:
    if [probe.exec_, probe.http_get, probe.tcp_socket].count(None) != 2:
        findings.wrong(path, "exactly one of exec, httpGet and tcpSocket is needed")
    for field, value, least in (
        ("initialDelaySeconds", probe.initial_delay_seconds, 0),
        ("periodSeconds", probe.period_seconds, 1),
        ("timeoutSeconds", probe.timeout_seconds, 1),
        ("successThreshold", probe.success_threshold, 1),
        ("failureThreshold", probe.failure_threshold, 1),
    ):
        if not least <= value <= MAX_SECONDS:
            findings.wrong(f"{path}.{field}", f"{least} to {MAX_SECONDS}")
    if probe.success_threshold != 1 and not path.endswith("readinessProbe"):
        findings.wrong(f"{path}.successThreshold", "1 here: only readiness may ask for more")
    if probe.exec_ and not probe.exec_.command:
        findings.wrong(f"{path}.exec.command", "empty")
    network = probe.http_get or probe.tcp_socket
    if network:
        field = "httpGet" if probe.http_get else "tcpSocket"
        if port_number(network.port, container) is None:
            findings.wrong(f"{path}.{field}.port", "not a port, nor the name of one of the container's TCP ports")
        if network.host and not (pod.host_network and network.host in ("127.0.0.1", "localhost", "::1")):
            findings.impossible(f"{path}.{field}.host", "a probe asks the container itself", hint="leave host out")
    if probe.http_get:
        if not re.fullmatch(r"/?[!-~]{0,2000}", probe.http_get.path):
            findings.wrong(f"{path}.httpGet.path", "only visible ASCII, percent-encoded, at most 2000 characters")
        for header in probe.http_get.http_headers:
            if not _HEADER.fullmatch(header.name) or not re.fullmatch(r"[ -~]{0,2000}", header.value):
                findings.wrong(f"{path}.httpGet.httpHeaders", f"{header.name[:80]!r} cannot be sent")


def port_number(port: int | str, container: Container) -> int | None:
    """Return a probe's port, by number or by the name one of the container's ports has; None when there is none."""
    if isinstance(port, int):
        return port if 1 <= port <= 65_535 else None
    if port.isascii() and port.isdigit() and len(port) <= 5:
        return port_number(int(port), container)
    return next((each.container_port for each in container.ports if port and each.name == port), None)
