"""Registry: which provider does which kind on this machine.

What a provider needs is imported only when the settings ask for it: a site without containers pays nothing for them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import BoundedSemaphore
from typing import Final, Literal

from holdfast_edge.core import own as own_
from holdfast_edge.core.own import Own
from holdfast_edge.providers.kubernetes.access import Access
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.systemd.door import Name
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Sources
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.kinds.pods.reading import KINDS as WORKLOADS
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource

NOTHING: Final = Own()
UNITS: Final = (
    "SystemdService",
    "SystemdTimer",
    "SystemdSocket",
    "SystemdMount",
    "SystemdDropIn",
    "SystemdUnit",
)


class Registry:
    """`own`: what no resource may take or change, whatever its kind."""

    def __init__(self, providers: Sequence[Provider], own: Own = NOTHING) -> None:
        self._own = own
        self._by_kind = {kind: provider for provider in providers for kind in provider.kinds}
        self._unknown: dict[str, Provider] = {}
        self.providers = tuple(providers)

    def provider(self, key: ResourceKey) -> Provider:
        """Return who does the kind of `key`; for one nobody does, a provider that says so."""
        kind = key.partition("/")[0]
        known = self._by_kind.get(kind) or self._unknown.get(kind)
        if known is None:
            why = f"this agent does nothing for kind {kind[:80]}"
            known = self._unknown[kind] = UnsupportedProvider((kind,), why, reason="UnknownKind")
        return known

    def check(self, resource: Resource, scope: Scope) -> None:
        """Raise PermanentError or UnsupportedError for what could never be applied here: first what would harm the agent,
        then what its provider says. [inv: agent-is-never-its-own-casualty]"""
        own_.refuse(self._own, resource)
        self.provider(resource.key).check(resource, scope)


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
    bridges: tuple[Bridges, Place] | None = None,
    door: Name = "dbus-fast",
) -> Registry:
    """Return the providers the settings allow. `mirrors`: image registry -> host:port asked in its stead; `pulls`: at once.

    `state` is the agent's own folder and `denied` its other files and its program: no resource may touch them. `account`:
    whose they are. `hub`: what no firewall closes. `sources`: where those of device data are kept, None: none are added.
    `bridges`: the same of bridges, with this node and its broker. `door`: how systemd is reached.
    [inv: agent-is-never-its-own-casualty]
    """
    from holdfast_edge.providers.container.configuration import ConfigurationProvider

    return Registry(
        [
            *_files(file_roots, denied, state),
            *_units(systemd, state, denied, environ, door),
            ConfigurationProvider(state),
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
        ],
        Own(_forms([*denied, state]), account),
    )


def _forms(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return paths as they are written and as they really lie."""
    return tuple(dict.fromkeys(form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))))


def _files(roots: Sequence[str], denied: Sequence[Path], state: Path) -> list[Provider]:
    if not roots:
        hint = "name folders in providers.file_roots of edge.toml"
        kinds = ("File", "Directory")
        return [UnsupportedProvider(kinds, "no folder is open to files here", reason="NoFileRoots", hint=hint)]
    from holdfast_edge.providers.files.directories import DirectoryProvider
    from holdfast_edge.providers.files.provider import FileProvider

    paths, kept = [Path(root) for root in roots], [*denied, state]
    return [
        FileProvider(roots=paths, denied=kept, state=state / "files"),
        DirectoryProvider(roots=paths, denied=kept, state=state / "directories"),
    ]


def _kernel(allowed: bool, hub: Way, state: Path) -> list[Provider]:
    if not allowed:
        kinds = ("Sysctl", "KernelModule", "Firewall")
        hint = "say kernel = true in [providers] of edge.toml"
        return [UnsupportedProvider(kinds, "the kernel is not open to changes here", reason="KernelClosed", hint=hint)]
    from holdfast_edge.providers.firewall.provider import FirewallProvider
    from holdfast_edge.providers.modules.provider import KernelModuleProvider
    from holdfast_edge.providers.sysctl.provider import SysctlProvider

    return [
        SysctlProvider(state=state / "sysctl"),
        KernelModuleProvider(state=state / "modules"),
        FirewallProvider(hub, state=state / "firewall"),
    ]


def _security(allowed: bool, state: Path) -> list[Provider]:
    """What only asserts needs no leave: `allowed` is whether these may enforce as well."""
    from holdfast_edge.providers.compliance.provider import ComplianceProvider
    from holdfast_edge.providers.confinement.provider import MandatoryAccessControlProvider
    from holdfast_edge.providers.sshd.provider import SSHPolicyProvider

    return [
        ComplianceProvider(),
        MandatoryAccessControlProvider(allowed=allowed, state=state / "confinement"),
        SSHPolicyProvider(allowed=allowed, state=state / "sshd"),
    ]


def _people(allowed: bool, state: Path) -> list[Provider]:
    if not allowed:
        kinds = ("User", "Group", "SSHKey")
        hint = "say accounts = true in [providers] of edge.toml"
        return [UnsupportedProvider(kinds, "accounts are not open to changes here", reason="AccountsClosed", hint=hint)]
    from holdfast_edge.providers.people.keys import SSHKeyProvider
    from holdfast_edge.providers.people.provider import PeopleProvider

    return [PeopleProvider(state=state / "people"), SSHKeyProvider(state=state / "keys")]


def _packages(allowed: bool, state: Path) -> Provider:
    if not allowed:
        hint = "say packages = true in [providers] of edge.toml"
        why = "packages are not open to changes here"
        return UnsupportedProvider(("Package",), why, reason="PackagesClosed", hint=hint)
    from holdfast_edge.providers.packages.provider import PackageProvider

    return PackageProvider(state=state / "packages")


def _network(allowed: bool, hub: Way, state: Path) -> Provider:
    if not allowed:
        hint = "say network = true in [providers] of edge.toml"
        why = "the network is not open to changes here"
        return UnsupportedProvider(("NetworkInterface",), why, reason="NetworkClosed", hint=hint)
    from holdfast_edge.providers.network.provider import NetworkInterfaceProvider

    return NetworkInterfaceProvider(hub, state=state / "network")


def _machine(allowed: bool, state: Path, door: Name) -> list[Provider]:
    if not allowed:
        hint = "say machine = true in [providers] of edge.toml"
        why = "the machine's name and clock are not open to changes here"
        return [UnsupportedProvider(("Hostname", "Time"), why, reason="MachineClosed", hint=hint)]
    from holdfast_edge.providers.hostname.provider import HostnameProvider
    from holdfast_edge.providers.systemd.clock import TimeProvider
    from holdfast_edge.providers.systemd.dbus import DbusSystemd
    from holdfast_edge.providers.systemd.home import SYSTEM_BUS

    try:
        time: Provider = TimeProvider(DbusSystemd(SYSTEM_BUS, door), state=state / "time")
    except UnsupportedError as error:
        time = UnsupportedProvider(("Time",), error.message, reason=error.reason, hint=error.hint)
    return [HostnameProvider(state=state / "hostname"), time]


def _version(state: Path, environ: Mapping[str, str]) -> Provider:
    from holdfast_edge.launcher import ENVIRONMENT
    from holdfast_edge.providers.version.provider import AgentVersionProvider

    return AgentVersionProvider(state=state, started_from=environ.get(ENVIRONMENT, ""))


def _kubernetes(access: Access | None, state: Path) -> Provider:
    if access is None:
        hint = "name its server in [providers.kubernetes] of edge.toml"
        return UnsupportedProvider(("Kubernetes",), "no API server is used here", reason="NoApiServer", hint=hint)
    from holdfast_edge.providers.kubernetes.provider import KubernetesProvider

    return KubernetesProvider(access, state=state / "kubernetes")


def _sources(sources: Sources | None) -> Provider:
    if sources is None:
        hint = "say sources = true in [providers] of edge.toml"
        why = "no sources of device data are added here"
        return UnsupportedProvider(("DeviceSource",), why, reason="SourcesClosed", hint=hint)
    from holdfast_edge.providers.sources.provider import DeviceSourceProvider

    return DeviceSourceProvider(sources)


def _bridges(bridges: tuple[Bridges, Place] | None) -> Provider:
    if bridges is None:
        hint = "say bridges = true in [providers] of edge.toml"
        why = "no messages are handed to other brokers here"
        return UnsupportedProvider(("Bridge",), why, reason="BridgesClosed", hint=hint)
    from holdfast_edge.providers.bridges.provider import BridgeProvider

    return BridgeProvider(*bridges)


def _units(
    which: Literal["", "system", "user"], state: Path, denied: Sequence[Path], environ: Mapping[str, str], door: Name
) -> list[Provider]:
    from holdfast_edge.providers.systemd.dbus import DbusSystemd
    from holdfast_edge.providers.systemd.home import find_home

    try:
        home = find_home(which, environ)
        backends = [DbusSystemd(home.address, door) for _ in range(3)]
    except UnsupportedError as error:
        return [UnsupportedProvider(UNITS, error.message, reason=error.reason, hint=error.hint)]
    from holdfast_edge.providers.systemd.drop_ins import DropInProvider
    from holdfast_edge.providers.systemd.foreign import ForeignUnitProvider
    from holdfast_edge.providers.systemd.provider import UnitProvider

    return [
        UnitProvider(backends[0], home, state=state / "services", denied=own_.UNITS, kept=(*denied, state)),
        DropInProvider(backends[1], home, state=state / "drop-ins", denied=own_.UNITS),
        ForeignUnitProvider(backends[2], home, state=state / "units", denied=own_.UNITS),
    ]


def _containers(
    engine: str,
    site: SiteName,
    state: Path,
    host_paths: Sequence[str],
    privileged: bool,
    mirrors: Mapping[str, str],
    pulls: int,
) -> list[Provider]:
    if not engine:
        hint = "name its socket in providers.engine of edge.toml"
        kinds = (*WORKLOADS, "Job", "CronJob", "Service", "PersistentVolumeClaim")
        return [UnsupportedProvider(kinds, "no container engine is used here", reason="NoEngine", hint=hint)]
    from holdfast_edge.providers.container.claim_provider import ClaimProvider
    from holdfast_edge.providers.container.job_provider import JobProvider
    from holdfast_edge.providers.container.provider import ContainerProvider
    from holdfast_edge.providers.container.service_provider import ServiceProvider
    from holdfast_protocol.kinds.pods.admission import Rules

    turns = BoundedSemaphore(pulls)
    rules = Rules(host_paths=tuple(host_paths), privileged=privileged, state=str(state))
    return [
        ContainerProvider(engine, site, state, rules=rules, mirrors=mirrors, turns=turns),
        JobProvider(engine, site, state, rules=rules, mirrors=mirrors, turns=turns),
        ServiceProvider(engine, site),
        ClaimProvider(engine, site, state),
    ]
