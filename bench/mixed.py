"""The 200 mixed resources of `rivals`: 120 files, 40 settings of the kernel, 40 units.

The settings belong to a network namespace, so a booted machine has its own. Content, mode and owner of files are wanted,
each setting now (and, where the tool can, at the next boot), each unit's file.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

FILES, SETTINGS, UNITS = 120, 40, 40
TOP: Final = Path("/srv/bench")
UNIT_FOLDER: Final = Path("/etc/systemd/system")
_SWITCHES: Final = (
    *("accept_local", "accept_redirects", "accept_source_route", "arp_accept", "arp_announce", "arp_filter"),
    *("arp_ignore", "arp_notify", "bc_forwarding", "bootp_relay", "disable_policy", "disable_xfrm"),
    *("drop_gratuitous_arp", "drop_unicast_in_l2_multicast", "ignore_routes_with_linkdown", "log_martians"),
    *("proxy_arp", "route_localnet", "rp_filter", "src_valid_mark"),
)


class Text(NamedTuple):
    path: Path
    content: str
    mode: int


def files() -> list[Text]:
    return [Text(TOP / f"d{n % 8}/f{n}", f"line of file {n}\n" * 20, 0o640) for n in range(FILES)]


def settings() -> dict[str, int]:
    """Return what each key is to be; before, it is 0."""
    return {f"net.ipv4.conf.{where}.{switch}": 1 for where in ("default", "lo") for switch in _SWITCHES}


def units() -> list[Text]:
    return [Text(UNIT_FOLDER / f"bench{n}.service", unit(n), 0o644) for n in range(UNITS)]


def unit(number: int) -> str:
    return (
        f"[Unit]\nDescription=bench {number}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def live(key: str) -> Path:
    return Path("/proc/sys", *key.split("."))


def bodies() -> list[dict[str, Any]]:
    """Return them as resources of a target. The units are also to be enabled and active, which no rival here is asked."""
    return [
        *(
            _body("File", f"f{n}", path=str(each.path), content=each.content, mode=f"{each.mode:04o}", owner=0, group=0)
            for n, each in enumerate(files())
        ),
        *(_body("Sysctl", f"s{n}", key=key, value=value) for n, (key, value) in enumerate(settings().items())),
        *(_body("SystemdService", f"bench{n}", unit=each.content) for n, each in enumerate(units())),
    ]


def _body(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
