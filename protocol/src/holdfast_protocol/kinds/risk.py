"""Which changes may cut a site off from its hub: those are made on trial, with a way back."""

from fnmatch import fnmatchcase
from typing import Any, Final

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import sysctl

_ALWAYS: Final = frozenset({"NetworkInterface", "Firewall"})
_PLACES: Final = (  # files, and folders with all below, that say how the network is
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nftables.conf",
    "/etc/network/",
    "/etc/netplan/",
    "/etc/NetworkManager/",
    "/etc/systemd/network/",
    "/etc/systemd/resolved.conf",
    "/etc/wpa_supplicant/",
    "/etc/wireguard/",
)
_UNITS: Final = (
    "NetworkManager*",
    "networking.service",
    "systemd-networkd.s*",
    "systemd-resolved.service",
    "ModemManager.service",
    "nftables.service",
    "firewalld.service",
    "ufw.service",
    "netfilter-persistent.service",
    "wpa_supplicant*",
    "iwd.service",
    "connman.service",
    "dhcpcd*",
    "ifup@*",
    "wg-quick@*",
    "openvpn*",
    "tailscaled.service",
)


def is_risky(body: dict[str, Any]) -> bool:
    """Return whether applying, changing or removing a resource of this body may cut the way to the hub."""
    kind, spec = body.get("kind"), body.get("spec") or {}
    match kind:
        case "Sysctl":
            return _is_network(spec)
        case "File" | "Directory":
            path = str(spec.get("path") or "")
            return any(path == place or (place.endswith("/") and path.startswith(place)) for place in _PLACES)
        case "SystemdUnit" | "SystemdDropIn":
            unit = str(spec.get("name") or spec.get("unit") or body.get("metadata", {}).get("name") or "")
            unit = unit if "." in unit else f"{unit}.service"
            return any(fnmatchcase(unit, pattern) for pattern in _UNITS)
        case _:
            return kind in _ALWAYS


def _is_network(spec: dict[str, Any]) -> bool:
    try:
        keys = sysctl.settings(spec)
    except WireError:  # it is not applied
        return False
    return any(key.startswith("net/") for key in keys)
