"""A Time's spec: the machine's time zone, and who tells it the time."""

import ipaddress
import re
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_SERVERS: Final = 16
ZONES: Final = "/usr/share/zoneinfo"
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,30}){0,2}")
_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?"
)


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written. What is left out is not compared."""

    timezone: str = ""  # as in Europe/Berlin
    ntp: bool | None = None  # whether the clock is set by NTP
    ntp_servers: tuple[str, ...] = ()  # hosts it is set by


def wanted(spec: dict[str, Any], _name: str = "") -> Spec:
    """Return the spec, checked. Raises WireError: InvalidSpec."""
    given = shaped(spec, Spec)
    if given == Spec():
        raise invalid("spec: nothing is wanted", "say timezone, ntp or ntpServers")
    if given.timezone and not _ZONE.fullmatch(given.timezone):
        raise invalid(f"spec.timezone: {given.timezone[:60]!r} is no time zone", "as in Europe/Berlin or Etc/UTC")
    if len(given.ntp_servers) > MAX_SERVERS:
        raise invalid(f"spec.ntpServers: more than {MAX_SERVERS}")
    for number, server in enumerate(given.ntp_servers):
        if not _is_host(server):
            raise invalid(f"spec.ntpServers[{number}]: {server[:60]!r} is no host")
    return given


def render_timesyncd(want: Spec) -> str:
    """Return the drop-in of /etc/systemd/timesyncd.conf.d."""
    return f"[Time]\nNTP={' '.join(want.ntp_servers)}\n"


def render_chrony(want: Spec) -> str:
    """Return the file of /etc/chrony/sources.d."""
    return "".join(f"server {server} iburst\n" for server in want.ntp_servers)


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return what the machine itself reads, by path below /etc; the link of the time zone as the command that makes it."""
    want = wanted(spec)
    files = {}
    if want.timezone:
        link = f"ln -sfn {ZONES}/{want.timezone} /etc/localtime"
        files[f"localtime-{name}.txt"] = f"# /etc/localtime is a link, made by: {link}\n"
    if want.ntp_servers or want.ntp is not None:
        path = f"systemd/timesyncd.conf.d/90-{name}.conf"
        then = "timedatectl set-ntp " + ("false" if want.ntp is False else "true")
        text = render_timesyncd(want) if want.ntp_servers else ""
        files[path] = f"# Install as /etc/{path}, then: {then} && systemctl try-restart systemd-timesyncd\n{text}"
    return files


def _is_host(text: str) -> bool:
    if "%" in text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and _HOST.fullmatch(text) is not None
    return True
