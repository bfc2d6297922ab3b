"""Own: what of a machine is the agent's, and why a resource may not have it. The one list of it; every kind is judged here
before its provider looks, and providers that follow links or ask the system look again with the same list.

[inv: agent-is-never-its-own-casualty]
"""

import posixpath
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.wire.target import Resource

UNITS: Final = ("holdfast-edge.service",)
PACKAGES: Final = "holdfast"  # begins the names of the agent's own
# Names in a folder of units that are the agent's, or that systemd reads for it as well.
_UNIT_FILES: Final = frozenset({*UNITS, *(f"{unit}.d" for unit in UNITS), "holdfast-.service.d", "service.d"})
_PRELOAD: Final = "/etc/ld.so.preload"  # read by every program that starts, ours included
# Below these the agent, or the machine under it, cannot go on. Keys as paths below /proc/sys.
_FLOORS: Final[Mapping[str, int]] = {
    "fs/file-max": 4096,
    "fs/nr_open": 4096,
    "kernel/pid_max": 1024,
    "kernel/threads-max": 1024,
    "vm/max_map_count": 16384,
}


class Own(msgspec.Struct, frozen=True):
    """`paths`: folders and files, absolute, also as they lie behind links; `account`: whose program it is."""

    paths: tuple[str, ...] = ()
    account: str = ""

    def overlaps(self, path: str) -> str:
        """Return which of ours is the path, lies in it or holds it; "" for none."""
        plain = posixpath.normpath(path)
        for ours in self.paths:
            if plain == ours or _below(plain, ours) or _below(ours, plain):
                return ours
        return ""


def refuse(own: Own, resource: Resource) -> None:
    """Raise PermanentError for a resource that would take, change or hide what is the agent's own. What is wrong with a
    spec otherwise, its provider says."""
    judge = _JUDGES.get(resource.kind)
    if judge is None:
        return
    try:
        judge(own, resource)
    except WireError:
        return


def _place(own: Own, resource: Resource) -> None:
    path = resource.spec.get("path")
    if not isinstance(path, str):
        return
    if ours := own.overlaps(path):
        raise _refusal(f"{path[:200]} is the agent's own: {ours}", "AgentPath")
    parts = posixpath.normpath(path).split("/")
    if "systemd" in parts and _UNIT_FILES & set(parts):
        raise _refusal(f"{path[:200]} says how the agent is run", "AgentPath")
    if posixpath.normpath(path) == _PRELOAD:
        raise _refusal(f"{path} is read by every program, the agent too", "AgentPath")


def _mount(own: Own, resource: Resource) -> None:
    from holdfast_protocol.kinds import systemd_mount  # here as below: a kind costs where there is one of it

    where = systemd_mount.place_of(str(resource.spec.get("unit") or ""))
    if ours := own.overlaps(where):
        raise _refusal(f"what is mounted at {where} hides the agent's own {ours}", "AgentPath")


def _account(own: Own, resource: Resource) -> None:
    from holdfast_protocol.kinds import user

    want = user.wanted(resource.spec, resource.name)
    if own.account and want.name == own.account:
        raise _refusal(f"{want.name} is the account the agent runs as", "Protected", "use another account")
    if want.home and (ours := own.overlaps(want.home)):
        raise _refusal(f"spec.home: {want.home[:200]} is the agent's own: {ours}", "AgentPath")


def _packages(_own: Own, resource: Resource) -> None:
    from holdfast_protocol.kinds import package

    for item in package.wanted(resource.spec, resource.name).items:
        if item.name.startswith(PACKAGES) and (item.state == "absent" or item.version):
            hint = "a new version of the agent comes by an AgentVersion"
            raise _refusal(f"{item.name} is the agent's own", "Protected", hint)


def _settings(_own: Own, resource: Resource) -> None:
    from holdfast_protocol.kinds import sysctl

    for path, value in sysctl.settings(resource.spec).items():
        floor = _FLOORS.get(path)
        if floor is not None and (not value.isdigit() or int(value) < floor):
            raise _refusal(f"{sysctl.key_of(path)}: below {floor} the agent cannot go on", "Protected")


def _volumes(own: Own, resource: Resource) -> None:
    for number, volume in enumerate(_pod(resource.spec).get("volumes") or ()):
        source = volume.get("hostPath") if isinstance(volume, dict) else None
        path = source.get("path") if isinstance(source, dict) else None
        if isinstance(path, str) and (ours := own.overlaps(path)):
            raise _refusal(f"volumes[{number}].hostPath: {path[:200]} holds the agent's own {ours}", "AgentPath")


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's part of a workload's spec, whichever kind it is of."""
    for outer in ("jobTemplate", "spec", "template", "spec"):
        inner = spec.get(outer)
        if isinstance(inner, dict):
            spec = inner
    return spec


_JUDGES: Final[Mapping[str, Callable[[Own, Resource], None]]] = {
    "File": _place,
    "Directory": _place,
    "SystemdMount": _mount,
    "User": _account,
    "Package": _packages,
    "Sysctl": _settings,
    **dict.fromkeys(("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"), _volumes),
}


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _refusal(message: str, reason: str, hint: str = "no target changes the agent itself") -> PermanentError:
    return PermanentError(message, reason=reason, hint=hint)
