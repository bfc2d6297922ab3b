"""Claims: what a resource must have for itself at a site, besides its key; two claimants would undo each other for ever.

The hub refuses them before anything is written, a site refuses a resource it decided itself. A claim is text for people:
`file /etc/motd`, `unit driver.service`, `port 8080/tcp`, `port 8080/tcp at 127.0.0.1`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import (
    clock,
    group,
    kernel_module,
    kubernetes,
    network_interface,
    package,
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
from holdfast_protocol.kinds.pods.ports import ports
from holdfast_protocol.kinds.pods.reading import workload
from holdfast_protocol.kinds.units import Wanted
from holdfast_protocol.wire.names import resource_key
from holdfast_protocol.wire.target import resource

VOLUME: Final = "volume "  # begins a claim that resources of one instance may share: a StatefulSet and its claims
UNITS: Final = "/etc/systemd/system"
_ALL: Final = ("", "0.0.0.0", "::", "*")  # noqa: S104 (addresses a claim may name)
_AT: Final = " at "
_UNIT_KINDS: Final[dict[str, Callable[[dict[str, Any], str], Wanted]]] = {
    "SystemdService": systemd_service.wanted,
    "SystemdTimer": systemd_timer.wanted,
    "SystemdSocket": systemd_socket.wanted,
    "SystemdMount": systemd_mount.wanted,
}
_NAMED: Final = frozenset({"Firewall", "KernelModule", "NetworkInterface", "Sysctl"})  # their names become files' names


def claims(body: dict[str, Any]) -> tuple[str, ...]:
    """Return what a resource must have for itself at a site, besides its key; what is not well formed claims nothing."""
    try:
        return tuple(dict.fromkeys(_claims(body)))
    except (WireError, PermanentError):
        return ()


class Claimed:
    """Who has which claim; for one site."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}
        self._addresses: dict[str, dict[str, str]] = {}  # of a port: who has it, by the address it is had on

    def take(self, claim: str, holder: str) -> str:
        """Note a claim, and return who else has it already; empty for nobody. A port meets itself on every address."""
        port, at, address = claim.partition(_AT) if claim.startswith("port ") else (claim, "", "")
        found = self._holders.get(claim, "") or (self._holders.get(port, "") if at else "")
        if claim.startswith("port ") and not at and not found:
            found = next((each for each in self._addresses.get(port, {}).values() if each != holder), "")
        self._holders.setdefault(claim, holder)
        if at:
            self._addresses.setdefault(port, {}).setdefault(address, holder)
        return found if found != holder else ""


def _claims(body: dict[str, Any]) -> Iterator[str]:
    kind, name = str(body.get("kind")), str(body["metadata"]["name"])
    spec: dict[str, Any] = body.get("spec") or {}
    if kind in ("File", "Directory") and isinstance(spec.get("path"), str):
        yield f"file {_normal(spec['path'])}"
    elif kind in _UNIT_KINDS:
        yield from _of_unit(_UNIT_KINDS[kind](spec, name))
    elif kind in _MACHINE:
        yield from _MACHINE[kind](spec, name)
    else:
        for port in ports(body):
            yield _port(port.number, port.protocol, port.address)
        if kind == "StatefulSet":
            yield from _volumes(body)
        elif kind == "PersistentVolumeClaim":
            yield f"{VOLUME}{resource_key(body).partition('/')[2]}"
    if kind in _NAMED:
        yield f"{kind} {name}"


def _of_unit(want: Wanted) -> Iterator[str]:
    yield f"unit {want.name}"
    for each in want.files:
        yield f"file {UNITS}/{each.path}"
    stream = "sctp" if want.text.values("Socket", "SocketProtocol")[-1:] == ("sctp",) else "tcp"
    device = "".join(want.text.values("Socket", "BindToDevice")[-1:])
    for key, protocol in (("ListenStream", stream), ("ListenDatagram", "udp"), ("ListenSequentialPacket", "")):
        for value in want.text.values("Socket", key):
            yield _listening(value, protocol, device)
    for key in ("ListenFIFO", "ListenSpecial"):
        for value in want.text.values("Socket", key):
            yield f"file {_normal(value)}"


def _listening(value: str, protocol: str, device: str) -> str:
    """Return the claim of an address a socket unit listens on, in the forms systemd.socket(5) has."""
    if value.startswith("/"):
        return f"file {_normal(value)}"
    address, _, number = value.rpartition(":")
    if not protocol or not (number.isascii() and number.isdigit() and len(number) < 6):
        return f"socket {value}"
    address = address.strip("[]")
    return _port(int(number), protocol, f"{address}%{device}" if device else address)


def _port(number: int, protocol: str, address: str) -> str:
    at = "" if address in _ALL else f"{_AT}{address}"
    return f"port {number}/{protocol.lower()}{at}"


def _volumes(body: dict[str, Any]) -> Iterator[str]:
    want = workload(resource(body))
    namespace = f"{want.namespace}/" if body["metadata"].get("namespace") else ""
    for volume, _ in want.claims:
        for replica in range(want.replicas):
            yield f"{VOLUME}{namespace}{want.claim_name(volume, replica)}"


def _normal(path: str) -> str:
    """Return a path without empty and `.` steps, so that two spellings of one file are one claim."""
    return "/" + "/".join(step for step in path.split("/") if step not in ("", "."))


_MACHINE: Final[dict[str, Callable[[dict[str, Any], str], tuple[str, ...]]]] = {
    "SystemdDropIn": lambda spec, name: tuple(
        f"file {UNITS}/{each.path}" for each in systemd_drop_in.wanted(spec, name).files
    ),
    "SystemdUnit": lambda spec, name: (f"unit {systemd_unit.wanted(spec, name).name}",),
    "Sysctl": lambda spec, _: tuple(f"sysctl {sysctl.key_of(path)}" for path in sysctl.settings(spec)),
    "KernelModule": lambda spec, name: tuple(_module(kernel_module.wanted(spec, name))),
    "Hostname": lambda _, __: ("the machine's name",),
    "AgentVersion": lambda _, __: ("the agent's version",),
    "Time": lambda spec, _: tuple(_time(clock.wanted(spec))),
    "Kubernetes": lambda spec, _: tuple(f"manifest {each.title}" for each in kubernetes.wanted(spec).manifests),
    "NetworkInterface": lambda spec, name: tuple(
        f"interface {each}" for each in (_interface(network_interface.wanted(spec, name)),) if each
    ),
    "Package": lambda spec, name: tuple(_packages(package.wanted(spec, name))),
    "User": lambda spec, name: (f"user {user.wanted(spec, name).name}",),
    "Group": lambda spec, name: (f"group {group.wanted(spec, name).name}",),
    "SSHPolicy": lambda spec, _: tuple(_ssh_settings(ssh_policy.wanted(spec))),
}


def _time(want: clock.Spec) -> Iterator[str]:
    if want.timezone:
        yield "the machine's time zone"
    if want.ntp is not None or want.ntp_servers:
        yield "the machine's clock"


def _module(want: kernel_module.Wanted) -> Iterator[str]:
    if want.parameters:  # merely loaded it may be for many
        yield f"module {want.module}"


def _interface(want: network_interface.Wanted) -> str:
    return want.interface or want.mac


def _packages(want: package.Wanted) -> Iterator[str]:
    for each in want.items:
        if each.version or each.state != "present":  # merely there it may be for many
            yield f"package {each.name}"


def _ssh_settings(want: ssh_policy.Wanted) -> Iterator[str]:
    if want.enforced:
        yield from (f"ssh setting {key}" for key in want.settings)
