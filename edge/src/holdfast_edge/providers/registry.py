"""Registry: which provider does which kind on this machine.

What a provider needs is imported only when the settings ask for it: a site without containers pays nothing for them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from holdfast_edge.providers.port import Provider
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.wire.names import ResourceKey, SiteName

OWN_UNITS: Final = ("holdfast-edge.service",)


class Registry:
    def __init__(self, providers: Sequence[Provider]) -> None:
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


def equip(
    *,
    file_roots: Sequence[str],
    engine: str,
    host_paths: Sequence[str],
    privileged: bool,
    systemd: Literal["", "system", "user"],
    kernel: bool,
    hub: Way,
    site: SiteName,
    state: Path,
    denied: Sequence[Path],
    environ: Mapping[str, str],
) -> Registry:
    """Return the providers the settings allow.

    `state` is the agent's own folder and `denied` its other files: no resource may touch them. `hub`: what no firewall closes.
    [inv: agent-is-never-its-own-casualty]
    """
    from holdfast_edge.providers.container.configuration import ConfigurationProvider

    return Registry(
        [
            *_files(file_roots, denied, state),
            _services(systemd, state, environ),
            ConfigurationProvider(state),
            _containers(engine, site, state, host_paths, privileged),
            *_kernel(kernel, hub, state),
        ]
    )


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


def _services(which: Literal["", "system", "user"], state: Path, environ: Mapping[str, str]) -> Provider:
    from holdfast_edge.providers.systemd.home import find_home

    try:
        home = find_home(which, environ)
    except UnsupportedError as error:
        return UnsupportedProvider(("SystemdService",), error.message, reason=error.reason, hint=error.hint)
    from holdfast_edge.providers.systemd.dbus import DbusSystemd
    from holdfast_edge.providers.systemd.provider import SystemdServiceProvider

    return SystemdServiceProvider(DbusSystemd(home.address), home, state=state / "services", denied=OWN_UNITS)


def _containers(engine: str, site: SiteName, state: Path, host_paths: Sequence[str], privileged: bool) -> Provider:
    if not engine:
        hint = "name its socket in providers.engine of edge.toml"
        kinds = ("Deployment", "Pod")
        return UnsupportedProvider(kinds, "no container engine is used here", reason="NoEngine", hint=hint)
    from holdfast_edge.providers.container.provider import ContainerProvider

    allowed = [Path(path) for path in host_paths]
    return ContainerProvider(engine, site, state, allowed_host_paths=allowed, allow_privileged=privileged)
