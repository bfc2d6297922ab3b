"""Interfaces as ip(8) and networkctl(1) tell of them in JSON. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from holdfast_protocol.errors import TransientError


class Link(msgspec.Struct, frozen=True):
    """One interface. Addresses with their prefix, the kernel's own link-local ones left out."""

    name: str
    mac: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = False
    master: str = ""
    addresses: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()  # network, and through whom ("": the link)


class Managed(msgspec.Struct, frozen=True):
    """What systemd-networkd says of one interface."""

    state: str  # unmanaged, pending, configuring, configured, failed, …
    operational: str  # routable, degraded, no-carrier, …
    file: str  # the .network that decides
    dns: tuple[str, ...] = ()


def links_of(addresses: bytes, routes: Iterable[bytes]) -> dict[str, Link]:
    """Return the interfaces by name from `ip -j address` and `ip -j route` of each family."""
    through: dict[str, list[tuple[str, str]]] = {}
    for family, listed in zip((4, 6), routes, strict=False):
        for each in _read(listed):
            to = str(each.get("dst", ""))
            network = ("0.0.0.0/0" if family == 4 else "::/0") if to == "default" else _network(to)
            through.setdefault(str(each.get("dev", "")), []).append((network, str(each.get("gateway", ""))))
    found = {}
    for each in _read(addresses):
        name, flags = str(each.get("ifname", "")), each.get("flags", [])
        found[name] = Link(
            name=name,
            mac=str(each.get("address", "")),
            mtu=int(each.get("mtu", 0)),
            up="UP" in flags,
            carrier="LOWER_UP" in flags,
            master=str(each.get("master", "")),
            addresses=tuple(
                f"{info['local']}/{info['prefixlen']}"
                for info in each.get("addr_info", [])
                if "local" in info and info.get("scope") != "link"
            ),
            routes=tuple(through.get(name, ())),
        )
    return found


def managed_of(listed: bytes) -> dict[str, Managed]:
    """Return what `networkctl --json=short list` says, by interface."""
    try:
        every = msgspec.json.decode(listed, type=dict[str, Any])["Interfaces"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        every = None
    if not isinstance(every, list):
        raise TransientError("networkctl answered something else than a list", reason="BadListing")
    return {
        str(each.get("Name", "")): Managed(
            state=str(each.get("AdministrativeState", "")),
            operational=str(each.get("OperationalState", "")),
            file=str(each.get("NetworkFile") or ""),
            dns=tuple(str(ipaddress.ip_address(bytes(one["Address"]))) for one in each.get("DNS") or ()),
        )
        for each in every
    }


def find(links: Mapping[str, Link], interface: str, mac: str) -> Link | None:
    """Return the interface of that name, or of that address."""
    if not mac:
        return links.get(interface)
    return next((link for link in links.values() if link.mac == mac and not link.master), None)


def _read(listed: bytes) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(listed or b"[]", type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TransientError("ip answered something else than a list", reason="BadListing") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:  # unreachable, blackhole and the like
        return text
