"""Kinds of the operating system as the machine's own files, and the steps that put them there."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint.leaving.room import (
    DIRECTORIES,
    DOORS,
    FILES,
    FIREWALL,
    MODULES,
    NAMES,
    NETWORK,
    SETTINGS,
    Room,
    identity,
    octal,
)
from holdfast_hub.blueprint.leaving.shell import call
from holdfast_hub.blueprint.render import Rendered
from holdfast_protocol.kinds import (
    clock,
    directory,
    file,
    firewall,
    hostname,
    kernel_module,
    network_interface,
    ssh_policy,
    sysctl,
)
from holdfast_protocol.kinds.file import Source
from holdfast_protocol.wire.names import ResourceKey


class Asked(msgspec.Struct, frozen=True):
    """A resource, its spec and its name."""

    each: Rendered

    @property
    def spec(self) -> dict[str, Any]:
        return self.each.body.get("spec") or {}

    @property
    def name(self) -> str:
        return str(self.each.body["metadata"]["name"])


_BOOT: Final = """\
[Unit]
Description=Firewall {name}
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f /etc/nftables.d/{name}.nft
[Install]
WantedBy=sysinit.target
"""


def installed(source: str, target: str, mode: int | None = None, owner: str = "", group: str = "") -> str:
    """Return the line that puts a file of the folder at its place."""
    return call("file", identity("file", target), source, target, octal(mode), owner, group)


def _into_etc(room: Room, files: dict[str, str]) -> list[str]:
    return [installed(room.filing.line(path, text), f"/etc/{path}") for path, text in files.items()]


def _file(room: Room, asked: Asked) -> None:
    want = file.wanted(asked.spec)
    content, secret = want.content, bool(want.source and want.source.secret)
    if want.source is not None:
        found = _referred(room, asked.each, want.source)
        if found is None:
            room.leave(asked.each, f"its content comes from {_named(want.source)}, which is not in this folder")
            return
        content = found
    assert content is not None
    path = room.filing.put(f"files{want.path}", content, 0o600 if secret else 0o644)
    said: dict[str, Any] = {key: asked.spec[key] for key in ("mode", "owner", "group") if key in asked.spec}
    room.modes.append(
        {"path": want.path, **said, **({"mode": "0600"} if secret and "mode" not in said else {}), "file": path}
    )
    room.step(FILES, [installed(path, want.path, want.mode, str(want.owner), str(want.group))])


def _referred(room: Room, each: Rendered, source: Source) -> bytes | None:
    namespace = each.body["metadata"].get("namespace")
    middle = f"{namespace}/" if namespace else ""
    kind, name = ("Secret", source.secret) if source.secret else ("ConfigMap", source.config_map)
    key = ResourceKey(f"{kind}/{middle}{name}")
    if key not in room.scope:
        return None
    return file.content_in(source, room.scope[key].body, key)


def _named(source: Source) -> str:
    return f"Secret {source.secret}" if source.secret else f"ConfigMap {source.config_map}"


def _directory(room: Room, asked: Asked) -> None:
    want = directory.wanted(asked.spec)
    said: dict[str, Any] = {key: asked.spec[key] for key in ("mode", "owner", "group") if key in asked.spec}
    room.modes.append({"path": want.path, **said, "directory": True})
    words = (want.path, octal(want.mode), str(want.owner), str(want.group))
    room.step(DIRECTORIES, [call("directory", identity("directory", want.path), *words)])


def _sysctl(room: Room, asked: Asked) -> None:
    lines = _into_etc(room, sysctl.native(asked.spec, asked.name))
    settings = sysctl.settings(asked.spec)
    lines += [call("setting", identity("setting", path), path, value) for path, value in settings.items()]
    room.step(SETTINGS, lines, "tr")


def _module(room: Room, asked: Asked) -> None:
    want = kernel_module.wanted(asked.spec, asked.name)
    lines = _into_etc(room, kernel_module.native(asked.spec, asked.name))
    if want.loaded:
        lines.append(call("module", identity("module", want.module), want.module))
    room.step(MODULES, lines, *(("modprobe",) if want.loaded else ()))


def _firewall(room: Room, asked: Asked) -> None:
    """Loaded now by the script, and at every boot by a service of its own."""
    [(path, text)] = firewall.native(asked.spec, asked.name).items()
    room.filing.line(path, text)
    unit = f"firewall-{asked.name}.service"
    boot = room.filing.line(f"systemd/system/{unit}", _BOOT.format(name=asked.name))
    lines = [
        call("stood", identity("stood", unit), unit),
        installed(path, f"/etc/nftables.d/{asked.name}.nft", 0o600),
        installed(boot, f"/etc/systemd/system/{unit}"),
        call("unit", identity("unit", unit), unit, "yes", ""),
        call("ruleset", identity("ruleset", asked.name), path, firewall.table_of(asked.name)),
    ]
    room.step(FIREWALL, lines, "nft", "systemctl")
    room.remarks.append(f"Firewall {asked.name} is in effect: see that you still reach this machine")


def _network(room: Room, asked: Asked) -> None:
    want = network_interface.wanted(asked.spec, asked.name)
    lines = [call("reloaded_before", identity("reloaded", "networkd", asked.name), "networkd")]
    lines += _into_etc(room, network_interface.native(asked.spec, asked.name))
    if want.creates:
        lines.append(call("interface", identity("interface", want.interface), want.interface))
    room.step(NETWORK, [*lines, call("reloaded", "networkd")], "networkctl", "ip")


def _hostname(room: Room, asked: Asked) -> None:
    want = hostname.wanted(asked.spec, asked.name)
    lines = _into_etc(room, hostname.native(asked.spec, asked.name))
    room.step(NAMES, [*lines, call("called", identity("called", "hostname"), want)], "hostname")


def _time(room: Room, asked: Asked) -> None:
    """The zone by its link, the servers for systemd-timesyncd."""
    want = clock.wanted(asked.spec)
    files = clock.native(asked.spec, asked.name)
    lines = []
    for path, text in files.items():
        room.filing.line(path, text)
        if want.ntp_servers and path.startswith("systemd/"):
            lines += [
                call("reloaded_before", identity("reloaded", "timesyncd", asked.name), "timesyncd"),
                installed(path, f"/etc/{path}"),
                call("reloaded", "timesyncd"),
            ]
    if want.timezone:
        lines.append(
            call("link", identity("link", "/etc/localtime"), "/etc/localtime", f"{clock.ZONES}/{want.timezone}")
        )
    if want.ntp is not None:
        unit = "systemd-timesyncd.service"
        said = "yes" if want.ntp else "no"
        lines += [call("stood", identity("stood", unit), unit), call("stand", unit, said, said)]
    room.step(NAMES, lines, "systemctl", "ln", "readlink")
    if want.ntp is not None or want.ntp_servers:
        room.remarks.append("The time servers are those of systemd-timesyncd: where chrony runs, they are not asked")


def _ssh_policy(room: Room, asked: Asked) -> None:
    files = ssh_policy.native(asked.spec, asked.name)
    if not files:
        room.leave(asked.each, "it asserts, and changes nothing")
        return
    lines = [call("reloaded_before", identity("reloaded", "sshd", asked.name), "sshd"), *_into_etc(room, files)]
    room.step(DOORS, [*lines, call("reloaded", "sshd")], "sshd", "systemctl")
    room.remarks.append(f"SSHPolicy {asked.name} is in effect: see that you still get in")


Writer = Callable[[Room, Asked], None]
MACHINE: Final[dict[str, Writer]] = {
    "File": _file,
    "Directory": _directory,
    "Sysctl": _sysctl,
    "KernelModule": _module,
    "Firewall": _firewall,
    "NetworkInterface": _network,
    "Hostname": _hostname,
    "Time": _time,
    "SSHPolicy": _ssh_policy,
}
