"""Equipment: the providers that the settings of this site allow, kept from what is the agent's own."""

import os
import pwd
from pathlib import Path

from holdfast_edge.program import program_paths
from holdfast_edge.providers import registry
from holdfast_edge.settings import Settings
from holdfast_edge.store.sources import Sources
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.wire.names import site_name


def equipped(settings: Settings, config: Path, sources: Sources | None = None) -> registry.Registry:
    """Return the providers; `config` is the absolute path of the settings, `sources` where those of device data are kept.
    [inv: agent-is-never-its-own-casualty]"""
    may = settings.providers
    return registry.equip(
        file_roots=may.file_roots,
        engine=may.engine,
        host_paths=may.host_paths,
        privileged=may.privileged,
        systemd=may.systemd,
        kernel=may.kernel,
        network=may.network,
        machine=may.machine,
        hub=Way(settings.hub.host, settings.hub.port),
        site=site_name(settings.site),
        state=Path(settings.state_dir),
        denied=(config, Path(settings.key_file), *program_paths()),
        environ=os.environ,
        account=_account(),
        packages=may.packages,
        accounts=may.accounts,
        security=may.security,
        kubernetes=may.kubernetes,
        mirrors=may.registry_mirrors,
        pulls=settings.budgets.pulls_at_once,
        sources=sources if may.sources else None,
    )


def _account() -> str:
    """Return the name of whoever runs the agent, "" for a number without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
