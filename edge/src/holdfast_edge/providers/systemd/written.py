"""Which units other resources of the target write. Pure."""

from collections.abc import Callable
from typing import Any, Final

from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import systemd_mount, systemd_service, systemd_socket, systemd_timer
from holdfast_protocol.kinds.units import Wanted
from holdfast_protocol.wire.names import ResourceKey

_SUFFIXES: Final[dict[str, tuple[str, Callable[[dict[str, Any], str], Wanted]]]] = {
    ".service": ("SystemdService", systemd_service.wanted),
    ".timer": ("SystemdTimer", systemd_timer.wanted),
    ".socket": ("SystemdSocket", systemd_socket.wanted),
    ".mount": ("SystemdMount", systemd_mount.wanted),
}


def written_by(unit: str, scope: Scope) -> ResourceKey | None:
    """Return the resource whose unit this is, None when no resource writes it."""
    kind, wanted = _SUFFIXES.get(f".{unit.rpartition('.')[2]}", ("", systemd_service.wanted))
    for key, resource in scope.resources.items():
        if resource.kind != kind:
            continue
        try:
            name = wanted(resource.spec, resource.name).name
        except WireError:  # it says so itself
            continue
        if name == unit:
            return key
    return None
