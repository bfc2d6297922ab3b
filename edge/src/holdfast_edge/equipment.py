"""Equipment: the providers that the settings of this site allow, kept from what is the agent's own."""

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast_edge.program import program_paths
from holdfast_edge.providers.offers import equip
from holdfast_edge.providers.registry import Registry
from holdfast_edge.settings import Settings
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Sources
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire.names import site_name

if TYPE_CHECKING:
    from holdfast_protocol.kinds.bridge import Place


def equipped(
    settings: Settings, config: Path, sources: Sources | None = None, bridges: Bridges | None = None
) -> Registry:
    """Return the providers; `config` is the absolute path of the settings, `sources` where those of device data are kept,
    `bridges` the same of bridges.
    [inv: agent-is-never-its-own-casualty]"""
    may = settings.providers
    return equip(
        file_roots=may.file_roots,
        engine=may.engine,
        host_paths=may.host_paths,
        privileged=may.privileged,
        systemd=may.systemd,
        kernel=may.kernel,
        network=may.network,
        machine=may.machine,
        hub=Way(settings.hub.host, settings.hub.port, _broker(settings)),
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
        bridges=(bridges, place_of(settings)) if may.bridges and bridges is not None else None,
        door=settings.systemd.door,
    )


def place_of(settings: Settings) -> "Place":
    """Return where bridges run: this node, and the site's own broker where the settings name one."""
    from holdfast_protocol.kinds.bridge import Place

    near = settings.near
    host, port, unix = (near.host, near.port, near.unix) if near is not None else ("", 0, "")
    return Place(settings.site, settings.node, host, port, unix)


def _broker(settings: Settings) -> tuple[str, int] | None:
    """Return where the site's broker is, None when it is on this machine, where no firewall is in between."""
    near = settings.near
    if near is None or near.unix or near.host == "localhost" or near.host.startswith(("127.", "::1")):
        return None
    return near.host, near.port


def _account() -> str:
    """Return the name of whoever runs the agent, "" for a number without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
