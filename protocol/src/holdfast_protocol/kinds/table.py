"""The table of kinds: what each one's spec is made of, how it is checked, and how the machine itself would say it.

Hub and edge use the same code: what is refused here at submit is what a site would refuse. What only a site can know (its
file roots, host paths, engine, its own units) is not asked here.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import HoldfastError, PermanentError, Problem, WireError
from holdfast_protocol.kinds import (
    agent_version,
    bridge,
    clock,
    device_source,
    directory,
    disk_encryption,
    file,
    firewall,
    group,
    hostname,
    kernel_module,
    kubernetes,
    mandatory_access_control,
    network_interface,
    package,
    secure_boot,
    ssh_key,
    ssh_policy,
    sysctl,
    systemd_drop_in,
    systemd_mount,
    systemd_service,
    systemd_socket,
    systemd_timer,
    systemd_unit,
    user,
)
from holdfast_protocol.kinds.misfits import misfits
from holdfast_protocol.kinds.pods import check as pods
from holdfast_protocol.kinds.pods import podspec
from holdfast_protocol.kinds.pods.claim import ClaimSpec
from holdfast_protocol.kinds.pods.cron_job import CronJobSpec
from holdfast_protocol.kinds.pods.deployment import DaemonSetSpec
from holdfast_protocol.kinds.pods.job import JobSpec
from holdfast_protocol.kinds.pods.service import ServiceSpec
from holdfast_protocol.kinds.pods.stateful_set import StatefulSetSpec
from holdfast_protocol.wire.flaws import Flaw, Path
from holdfast_protocol.wire.names import is_name

OURS: Final = "holdfast.io/v1alpha1"
Body = dict[str, Any]
Spec = dict[str, Any]
Files = dict[str, str]  # text by relative path
_FRAME: Final = frozenset({"apiVersion", "kind", "metadata", "status"})
_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]|\[\"([^\"]*)\"\]|\.'([^']*)'")
_LINE: Final = re.compile(r" line (\d+)")


class Kind(msgspec.Struct, frozen=True):
    """One kind. `shape` is its spec, or with `whole` all fields of its documents; `accept` raises for what is wrong."""

    name: str
    shape: type[Any]
    accept: Callable[[Body], object]
    native: Callable[[Spec, str], Files] | None = None  # the files the machine itself reads
    api_version: str = OURS
    whole: bool = False
    named: bool = False  # its name becomes one of a file or table: a DNS label
    kubernetes: bool = False  # Kubernetes' own: a null counts as absent
    advise: Callable[[Spec, str], Sequence[Flaw]] | None = None  # what of a spec that is taken its author should know

    def check(self, body: Body) -> tuple[Flaw, ...]:
        """Return everything wrong with a rendered body, paths from its root; () is fine at every site that can do it.

        A warning is an image no registry could serve: whether it is there is the site's to find out; or what `advise` says.
        """
        if self.whole:
            found = misfits(body, self.shape, nulls=True)
        else:
            spec = body.get("spec")
            found = misfits({} if spec is None else spec, self.shape, ("spec",), nulls=self.kubernetes)
            known = {*_FRAME, "spec"}
            found += [
                Flaw((key,), f"unknown field {key[:80]!r}", f"known: {', '.join(sorted(known))}")
                for key in body
                if key not in known
            ]
        name = body["metadata"]["name"]
        if self.named and not is_name(name):
            said = f"{name[:100]!r} becomes the name of a file: 1 to 63 lower-case letters, digits and inner hyphens"
            found.append(Flaw(("metadata", "name"), said))
        if found:
            return tuple(found)
        try:
            self.accept(body)
        except (WireError, PermanentError) as error:
            return tuple(_flaws(self, error, body))
        return tuple(self.advise(body.get("spec") or {}, name)) if self.advise is not None else ()


def _by_spec(judge: Callable[[Spec], object]) -> Callable[[Body], object]:
    return lambda body: judge(body.get("spec") or {})


def _by_name(judge: Callable[[Spec, str], object]) -> Callable[[Body], object]:
    return lambda body: judge(body.get("spec") or {}, str(body["metadata"]["name"]))


def _firewall(spec: Spec, name: str) -> object:
    return firewall.render(spec, name, None)


def _kubernetes(name: str, version: str, shape: type[Any], *, whole: bool = False) -> Kind:
    return Kind(name, shape, pods.check, api_version=version, whole=whole, kubernetes=True)


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("File", file.Spec, _by_spec(file.wanted)),
        Kind("Directory", directory.Spec, _by_spec(directory.wanted)),
        Kind("SystemdService", systemd_service.Spec, _by_name(systemd_service.wanted)),
        Kind("SystemdTimer", systemd_timer.Spec, _by_name(systemd_timer.wanted), systemd_timer.native),
        Kind("SystemdSocket", systemd_socket.Spec, _by_name(systemd_socket.wanted), systemd_socket.native),
        Kind("SystemdMount", systemd_mount.Spec, _by_name(systemd_mount.wanted), systemd_mount.native),
        Kind("SystemdDropIn", systemd_drop_in.Spec, _by_name(systemd_drop_in.wanted), systemd_drop_in.native),
        Kind("SystemdUnit", systemd_unit.Spec, _by_name(systemd_unit.wanted), systemd_unit.native),
        Kind("Sysctl", sysctl.Spec, _by_spec(sysctl.settings), sysctl.native, named=True),
        Kind("KernelModule", kernel_module.Spec, _by_name(kernel_module.wanted), kernel_module.native, named=True),
        Kind("Firewall", firewall.Spec, _by_name(_firewall), firewall.native, named=True),
        Kind(
            "NetworkInterface",
            network_interface.Spec,
            _by_name(network_interface.wanted),
            network_interface.native,
            named=True,
        ),
        Kind("Time", clock.Spec, _by_spec(clock.wanted), clock.native, named=True),
        Kind("Kubernetes", kubernetes.Spec, _by_spec(kubernetes.wanted)),
        Kind("DeviceSource", device_source.Spec, _by_name(device_source.wanted), named=True),
        Kind("Bridge", bridge.Spec, _by_name(bridge.at_site), named=True, advise=bridge.warnings),
        Kind("AgentVersion", agent_version.Spec, _by_name(agent_version.wanted)),
        Kind("Hostname", hostname.Spec, _by_name(hostname.wanted), hostname.native),
        Kind("Package", package.Spec, _by_name(package.wanted)),
        Kind("User", user.Spec, _by_name(user.wanted)),
        Kind("Group", group.Spec, _by_name(group.wanted)),
        Kind("SSHKey", ssh_key.Spec, _by_name(ssh_key.wanted)),
        Kind("SSHPolicy", ssh_policy.Spec, _by_spec(ssh_policy.wanted), ssh_policy.native, named=True),
        Kind(
            "MandatoryAccessControl",
            mandatory_access_control.Spec,
            _by_spec(mandatory_access_control.wanted),
            named=True,
        ),
        Kind("DiskEncryption", disk_encryption.Spec, _by_spec(disk_encryption.wanted)),
        Kind("SecureBoot", secure_boot.Spec, _by_spec(secure_boot.wanted)),
        _kubernetes("Deployment", "apps/v1", podspec.DeploymentSpec),
        _kubernetes("StatefulSet", "apps/v1", StatefulSetSpec),
        _kubernetes("DaemonSet", "apps/v1", DaemonSetSpec),
        _kubernetes("Pod", "v1", podspec.PodSpec),
        _kubernetes("Job", "batch/v1", JobSpec),
        _kubernetes("CronJob", "batch/v1", CronJobSpec),
        _kubernetes("Service", "v1", ServiceSpec),
        _kubernetes("PersistentVolumeClaim", "v1", ClaimSpec),
        _kubernetes("ConfigMap", "v1", podspec.ConfigMapDocument, whole=True),
        _kubernetes("Secret", "v1", podspec.SecretDocument, whole=True),
    )
}


def check(body: Body) -> tuple[Flaw, ...]:
    """Return everything wrong with a rendered body of a known kind; () for a kind nobody here knows."""
    kind = KINDS.get(body["kind"])
    return kind.check(body) if kind else ()


def _flaws(kind: Kind, error: HoldfastError, body: Body) -> list[Flaw]:
    problems = getattr(error, "problems", ()) or (Problem(error.message, hint=error.hint),)
    return [_flaw(kind, each, error.reason, body) for each in problems]


def _flaw(kind: Kind, problem: Problem, reason: str, body: Body) -> Flaw:
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    path, end = _path(text, body)
    if not path:
        spec = body.get("spec")
        named = isinstance(spec, dict) and spec.get("name")
        path = (
            (("spec", "name") if named else ("metadata", "name"))
            if reason in ("BadName", "EssentialUnit")
            else ("spec",)
        )
        return Flaw(path if "spec" in body or path[0] == "metadata" else (), text, problem.hint)
    line = _LINE.match(text, end)
    offset = -1
    value = _at(body, path)
    if line is not None and isinstance(value, str):
        lines = value.split("\n")
        offset = sum(len(each) + 1 for each in lines[: min(int(line[1]), len(lines)) - 1])
    said = text[end:].removeprefix(":").strip() if text[end : end + 1] == ":" else text
    image = kind.kubernetes and path[-1] == "image"  # some are a registry's to judge: said of, never refused here
    return Flaw(path, said, problem.hint, warning=image, offset=offset)


def _path(text: str, body: Body) -> tuple[Path, int]:
    """Return the path a message begins with as far as the body has it, and where in the message it ends."""
    first = next((key for key in body if re.match(rf"{re.escape(key)}(?![\w-])", text)), None)
    if first is None:
        return (), 0
    path: list[str | int] = [first]
    end, value = len(first), body[first]
    while (step := _STEP.match(text, end)) is not None:
        key: str | int = (
            int(step[2]) if step[2] is not None else next(each for each in step.groups() if each is not None)
        )
        inside = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, list) and isinstance(key, int) and key < len(value):
            inside = value[key]
        if inside is None:
            break
        path.append(key)
        value, end = inside, step.end()
    return tuple(path), end


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value
