"""Units of systemd as files, and the steps that make them stand as they should."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

from holdfast_hub.blueprint.leaving.machine import Asked, Writer, installed
from holdfast_hub.blueprint.leaving.room import FOREIGN, MOUNTS, SERVICES, SOCKETS, TIMERS, Room, identity
from holdfast_hub.blueprint.leaving.shell import call
from holdfast_hub.blueprint.render import Rendered
from holdfast_protocol.kinds import (
    systemd_drop_in,
    systemd_mount,
    systemd_service,
    systemd_socket,
    systemd_timer,
    systemd_unit,
    units,
)
from holdfast_protocol.kinds.units import Wanted

SERVICE: Final = "SystemdService"
_DESCRIPTION: Final = re.compile(r"^Description[ \t]*=[ \t]*(.+)$", re.MULTILINE)
_UNITS: Final = "/etc/systemd/system"


def service(room: Room, each: Rendered, name: str) -> str:
    """Write a service as the file `name`.unit, and return the name systemd knows it by."""
    want = systemd_service.wanted(each.body.get("spec") or {}, each.body["metadata"]["name"])
    paths = {}
    start = "enable --now" if want.enabled and want.text.can_be_enabled else "start"
    for at, one in enumerate(want.files):
        then = "systemctl daemon-reload" + ("" if at else f" && systemctl {start} {want.name}")
        head = f"# Install as {_UNITS}/{one.path}, then: {then}\n"
        path = f"{name}.unit.d/{one.path.rpartition('/')[2]}" if at else f"{name}.unit"
        paths[room.filing.line(path, head + one.content.decode())] = f"{_UNITS}/{one.path}"
    _stands(room, want, paths, SERVICES)
    return want.name


def _stands(room: Room, want: Wanted, paths: dict[str, str], rank: int) -> None:
    enabled = "yes" if want.enabled and want.text.can_be_enabled else "" if want.enabled else "no"
    running: str = want.running if isinstance(want.running, str) else "yes" if want.running else "no"
    if running == "yes" and want.text.runs_to_completion:
        running = "once"
    lines = [call("stood", identity("stood", want.name), want.name)]
    lines += [installed(path, target) for path, target in paths.items()]
    lines.append(call("unit", identity("unit", want.name), want.name, enabled, running))
    room.step(rank, lines, "systemctl")


def _written(room: Room, want: Wanted, rank: int) -> None:
    paths = {room.filing.line(path, text): f"/etc/{path}" for path, text in units.native_files(want).items()}
    _stands(room, want, paths, rank)


def _timer(room: Room, asked: Asked) -> None:
    _written(room, systemd_timer.wanted(asked.spec, asked.name), TIMERS)


def _socket(room: Room, asked: Asked) -> None:
    _written(room, systemd_socket.wanted(asked.spec, asked.name), SOCKETS)


def _mount(room: Room, asked: Asked) -> None:
    want = systemd_mount.wanted(asked.spec, asked.name)
    room.step(MOUNTS, [call("place", systemd_mount.place_of(asked.spec["unit"]))])
    _written(room, want, MOUNTS)


def _drop_in(room: Room, asked: Asked) -> None:
    want = systemd_drop_in.wanted(asked.spec, asked.name)
    key = identity("stood", want.unit, asked.name)
    lines = [call("stood", key, want.unit)]
    for path, text in systemd_drop_in.native(asked.spec, asked.name).items():
        lines.append(installed(room.filing.line(path, text), f"/etc/{path}"))
    room.step(FOREIGN, [*lines, call("stand", want.unit, "", "onDemand" if want.restart else "")], "systemctl")


def _foreign(room: Room, asked: Asked) -> None:
    want = systemd_unit.wanted(asked.spec, asked.name)
    for path, text in systemd_unit.native(asked.spec, asked.name).items():
        room.filing.line(path, text)
    yes = {True: "yes", False: "no", None: ""}
    lines = [call("stood", identity("stood", want.name, asked.name), want.name)]
    if want.masked is not None:
        lines.append(call("stand", want.name, "masked" if want.masked else "unmasked", "no" if want.masked else ""))
    if want.enabled is not None or want.running is not None:
        lines.append(call("stand", want.name, yes[want.enabled], yes[want.running]))
    room.step(FOREIGN, lines, "systemctl")


def file_names(services: Iterable[Rendered]) -> dict[str, str]:
    """Return each service's file by its label: what its Description says, its id where two say the same."""
    slugs = {each.label: _slug(each) for each in services}
    count = Counter(slugs.values())
    return {label: slug if count[slug] == 1 else f"{slug}-{label}" for label, slug in slugs.items()}


def _slug(each: Rendered) -> str:
    spec = each.body.get("spec") or {}
    found = _DESCRIPTION.search(str(spec.get("unit", "")))
    text = unicodedata.normalize("NFKD", found[1] if found else "").encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:63].strip("-") or str(each.body["metadata"]["name"])


UNITS: Final[dict[str, Writer]] = {
    "SystemdTimer": _timer,
    "SystemdSocket": _socket,
    "SystemdMount": _mount,
    "SystemdDropIn": _drop_in,
    "SystemdUnit": _foreign,
}
