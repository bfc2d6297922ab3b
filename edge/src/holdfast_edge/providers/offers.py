"""Offers: the providers that the settings of a site allow, and for every other kind why it is closed and what opens it."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Literal

from holdfast_edge.core import own as own_
from holdfast_edge.core.own import Own
from holdfast_edge.providers.kubernetes.access import Access
from holdfast_edge.providers.port import Provider
from holdfast_edge.providers.registry import Offer, Registry
from holdfast_edge.providers.systemd.door import Name
from holdfast_edge.providers.systemd.home import SYSTEM_BUS, Home, find_home
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Sources
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire.names import SiteName

if TYPE_CHECKING:
    from holdfast_edge.providers.systemd.dbus import DbusSystemd
    from holdfast_protocol.kinds.bridge import Place
    from holdfast_protocol.kinds.pods.admission import Rules


def equip(
    *,
    file_roots: Sequence[str],
    engine: str,
    host_paths: Sequence[str],
    privileged: bool,
    systemd: Literal["", "system", "user"],
    kernel: bool,
    network: bool,
    machine: bool,
    hub: Way,
    site: SiteName,
    state: Path,
    denied: Sequence[Path],
    environ: Mapping[str, str],
    account: str = "",
    packages: bool = False,
    accounts: bool = False,
    security: bool = False,
    kubernetes: Access | None = None,
    mirrors: Mapping[str, str] | None = None,
    pulls: int = 4,
    sources: Sources | None = None,
    bridges: "tuple[Bridges, Place] | None" = None,
    door: Name = "dbus-fast",
) -> Registry:
    """Return the providers the settings allow. `mirrors`: image registry -> host:port asked in its stead; `pulls`: at once.

    `state` is the agent's own folder and `denied` its other files and its program: no resource may touch them. `account`:
    whose they are. `hub`: what no firewall closes. `sources`: where those of device data are kept, None: none are added.
    `bridges`: the same of bridges, with this node and its broker. `door`: how systemd is reached.
    [inv: agent-is-never-its-own-casualty]
    """
    offers = [
        *_files(file_roots, denied, state),
        *_units(systemd, state, denied, environ, door),
        *_containers(engine, site, state, host_paths, privileged, mirrors or {}, pulls),
        *_kernel(kernel, hub, state),
        _network(network, hub, state),
        *_machine(machine, state, door),
        _version(state, environ),
        *_security(security, state),
        *_people(accounts, state),
        _packages(packages, state),
        _kubernetes(kubernetes, state),
        _sources(sources),
        _bridges(bridges),
    ]
    return Registry((), Own(_forms([*denied, state]), account), offers)


def _closed(kinds: tuple[str, ...], why: str, reason: str, hint: str = "") -> Offer:
    return Offer(kinds, partial(UnsupportedProvider, kinds, why, reason=reason, hint=hint))


def _forms(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return paths as they are written and as they really lie."""
    return tuple(dict.fromkeys(form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))))


def _files(roots: Sequence[str], denied: Sequence[Path], state: Path) -> list[Offer]:
    if not roots:
        hint = "name folders in providers.file_roots of edge.toml"
        return [_closed(("File", "Directory"), "no folder is open to files here", "NoFileRoots", hint)]
    paths, kept = [Path(root) for root in roots], [*denied, state]

    def files() -> Provider:
        from holdfast_edge.providers.files.provider import FileProvider

        return FileProvider(roots=paths, denied=kept, state=state / "files")

    def directories() -> Provider:
        from holdfast_edge.providers.files.directories import DirectoryProvider

        return DirectoryProvider(roots=paths, denied=kept, state=state / "directories")

    return [Offer(("File",), files), Offer(("Directory",), directories)]


def _kernel(allowed: bool, hub: Way, state: Path) -> list[Offer]:
    if not allowed:
        kinds = ("Sysctl", "KernelModule", "Firewall")
        hint = "say kernel = true in [providers] of edge.toml"
        return [_closed(kinds, "the kernel is not open to changes here", "KernelClosed", hint)]

    def settings() -> Provider:
        from holdfast_edge.providers.sysctl.provider import SysctlProvider

        return SysctlProvider(state=state / "sysctl")

    def modules() -> Provider:
        from holdfast_edge.providers.modules.provider import KernelModuleProvider

        return KernelModuleProvider(state=state / "modules")

    def firewall() -> Provider:
        from holdfast_edge.providers.firewall.provider import FirewallProvider

        return FirewallProvider(hub, state=state / "firewall")

    return [Offer(("Sysctl",), settings), Offer(("KernelModule",), modules), Offer(("Firewall",), firewall)]


def _security(allowed: bool, state: Path) -> list[Offer]:
    """What only asserts needs no leave: `allowed` is whether these may enforce as well."""

    def compliance() -> Provider:
        from holdfast_edge.providers.compliance.provider import ComplianceProvider

        return ComplianceProvider()

    def confinement() -> Provider:
        from holdfast_edge.providers.confinement.provider import MandatoryAccessControlProvider

        return MandatoryAccessControlProvider(allowed=allowed, state=state / "confinement")

    def sshd() -> Provider:
        from holdfast_edge.providers.sshd.provider import SSHPolicyProvider

        return SSHPolicyProvider(allowed=allowed, state=state / "sshd")

    return [
        Offer(("DiskEncryption", "SecureBoot"), compliance),
        Offer(("MandatoryAccessControl",), confinement),
        Offer(("SSHPolicy",), sshd),
    ]


def _people(allowed: bool, state: Path) -> list[Offer]:
    if not allowed:
        hint = "say accounts = true in [providers] of edge.toml"
        return [_closed(("User", "Group", "SSHKey"), "accounts are not open to changes here", "AccountsClosed", hint)]

    def people() -> Provider:
        from holdfast_edge.providers.people.provider import PeopleProvider

        return PeopleProvider(state=state / "people")

    def keys() -> Provider:
        from holdfast_edge.providers.people.keys import SSHKeyProvider

        return SSHKeyProvider(state=state / "keys")

    return [Offer(("User", "Group"), people), Offer(("SSHKey",), keys)]


def _packages(allowed: bool, state: Path) -> Offer:
    kinds = ("Package",)
    if not allowed:
        hint = "say packages = true in [providers] of edge.toml"
        return _closed(kinds, "packages are not open to changes here", "PackagesClosed", hint)

    def packages() -> Provider:
        from holdfast_edge.providers.packages.provider import PackageProvider

        return PackageProvider(state=state / "packages")

    return Offer(kinds, packages)


def _network(allowed: bool, hub: Way, state: Path) -> Offer:
    kinds = ("NetworkInterface",)
    if not allowed:
        hint = "say network = true in [providers] of edge.toml"
        return _closed(kinds, "the network is not open to changes here", "NetworkClosed", hint)

    def network() -> Provider:
        from holdfast_edge.providers.network.provider import NetworkInterfaceProvider

        return NetworkInterfaceProvider(hub, state=state / "network")

    return Offer(kinds, network)


def _machine(allowed: bool, state: Path, door: Name) -> list[Offer]:
    if not allowed:
        hint = "say machine = true in [providers] of edge.toml"
        why = "the machine's name and clock are not open to changes here"
        return [_closed(("Hostname", "Time"), why, "MachineClosed", hint)]

    def hostname() -> Provider:
        from holdfast_edge.providers.hostname.provider import HostnameProvider

        return HostnameProvider(state=state / "hostname")

    def time() -> Provider:
        from holdfast_edge.providers.systemd.clock import TimeProvider
        from holdfast_edge.providers.systemd.dbus import DbusSystemd

        return TimeProvider(DbusSystemd(SYSTEM_BUS, door), state=state / "time")

    return [Offer(("Hostname",), hostname), Offer(("Time",), time)]


def _version(state: Path, environ: Mapping[str, str]) -> Offer:
    def version() -> Provider:
        from holdfast_edge.launcher import ENVIRONMENT
        from holdfast_edge.providers.version.provider import AgentVersionProvider

        return AgentVersionProvider(state=state, started_from=environ.get(ENVIRONMENT, ""))

    return Offer(("AgentVersion",), version)


def _kubernetes(access: Access | None, state: Path) -> Offer:
    kinds = ("Kubernetes",)
    if access is None:
        hint = "name its server in [providers.kubernetes] of edge.toml"
        return _closed(kinds, "no API server is used here", "NoApiServer", hint)

    def kubernetes() -> Provider:
        from holdfast_edge.providers.kubernetes.provider import KubernetesProvider

        return KubernetesProvider(access, state=state / "kubernetes")

    return Offer(kinds, kubernetes)


def _sources(sources: Sources | None) -> Offer:
    kinds = ("DeviceSource",)
    if sources is None:
        hint = "say sources = true in [providers] of edge.toml"
        return _closed(kinds, "no sources of device data are added here", "SourcesClosed", hint)

    def added() -> Provider:
        from holdfast_edge.providers.sources.provider import DeviceSourceProvider

        return DeviceSourceProvider(sources)

    return Offer(kinds, added)


def _bridges(bridges: "tuple[Bridges, Place] | None") -> Offer:
    kinds = ("Bridge",)
    if bridges is None:
        hint = "say bridges = true in [providers] of edge.toml"
        return _closed(kinds, "no messages are handed to other brokers here", "BridgesClosed", hint)

    def added() -> Provider:
        from holdfast_edge.providers.bridges.provider import BridgeProvider

        return BridgeProvider(*bridges)

    return Offer(kinds, added)


def _units(
    which: Literal["", "system", "user"], state: Path, denied: Sequence[Path], environ: Mapping[str, str], door: Name
) -> list[Offer]:
    def reached() -> "tuple[DbusSystemd, Home]":
        from holdfast_edge.providers.systemd.dbus import DbusSystemd

        home = find_home(which, environ)
        return DbusSystemd(home.address, door), home

    def units() -> Provider:
        backend, home = reached()
        from holdfast_edge.providers.systemd.provider import UnitProvider

        return UnitProvider(backend, home, state=state / "services", denied=own_.UNITS, kept=(*denied, state))

    def drop_ins() -> Provider:
        backend, home = reached()
        from holdfast_edge.providers.systemd.drop_ins import DropInProvider

        return DropInProvider(backend, home, state=state / "drop-ins", denied=own_.UNITS)

    def foreign() -> Provider:
        backend, home = reached()
        from holdfast_edge.providers.systemd.foreign import ForeignUnitProvider

        return ForeignUnitProvider(backend, home, state=state / "units", denied=own_.UNITS)

    return [
        Offer(("SystemdService", "SystemdTimer", "SystemdSocket", "SystemdMount"), units),
        Offer(("SystemdDropIn",), drop_ins),
        Offer(("SystemdUnit",), foreign),
    ]


def _containers(
    engine: str,
    site: SiteName,
    state: Path,
    host_paths: Sequence[str],
    privileged: bool,
    mirrors: Mapping[str, str],
    pulls: int,
) -> list[Offer]:
    def configuration() -> Provider:
        from holdfast_edge.providers.container.configuration import ConfigurationProvider

        return ConfigurationProvider(state)

    workloads, jobs = ("Deployment", "StatefulSet", "DaemonSet", "Pod"), ("Job", "CronJob")
    values = Offer(("ConfigMap", "Secret"), configuration)
    if not engine:
        hint = "name its socket in providers.engine of edge.toml"
        kinds = (*workloads, *jobs, "Service", "PersistentVolumeClaim")
        return [values, _closed(kinds, "no container engine is used here", "NoEngine", hint)]
    turns = BoundedSemaphore(pulls)

    def rules() -> "Rules":
        from holdfast_protocol.kinds.pods.admission import Rules

        return Rules(host_paths=tuple(host_paths), privileged=privileged, state=str(state))

    def pods() -> Provider:
        from holdfast_edge.providers.container.provider import ContainerProvider

        return ContainerProvider(engine, site, state, rules=rules(), mirrors=mirrors, turns=turns)

    def runs() -> Provider:
        from holdfast_edge.providers.container.job_provider import JobProvider

        return JobProvider(engine, site, state, rules=rules(), mirrors=mirrors, turns=turns)

    def services() -> Provider:
        from holdfast_edge.providers.container.service_provider import ServiceProvider

        return ServiceProvider(engine, site)

    def claims() -> Provider:
        from holdfast_edge.providers.container.claim_provider import ClaimProvider

        return ClaimProvider(engine, site, state)

    return [
        values,
        Offer(workloads, pods),
        Offer(jobs, runs),
        Offer(("Service",), services),
        Offer(("PersistentVolumeClaim",), claims),
    ]
