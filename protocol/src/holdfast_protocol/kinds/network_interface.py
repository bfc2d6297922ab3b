"""A NetworkInterface's spec, and the files of systemd-networkd that say the same."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_text
from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import is_name

MAX_ITEMS: Final = 64  # addresses, routes, ports, … of one interface
MAX_INTERFACE: Final = 15  # bytes, the kernel's own limit
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DOMAIN: Final = re.compile(r"~?\.?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{0,63}")
Mode = Literal["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: str = "default"  # a network, or default
    via: str = ""  # the next router; "": on the link itself
    metric: int | None = None  # the lowest is taken first


class Vlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int  # 1 to 4094


class Bridge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ports: tuple[str, ...] = ()  # interfaces in it
    stp: bool = False  # whether it looks for loops


class Bond(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ports: tuple[str, ...] = ()  # interfaces in it
    mode: Mode = "active-backup"  # as the kernel calls it


class Native(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts as systemd.network(5), systemd.netdev(5), systemd.link(5) have them."""

    network: str = ""  # how it is configured
    netdev: str = ""  # how it is made
    link: str = ""  # what it is called


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written: fields, or native texts instead of all but `interface`."""

    interface: str = ""  # "": metadata.name
    mac: str = ""  # found by its address instead, whatever it is called
    rename: str = ""  # what the one found by mac is called from its next appearance on
    addresses: tuple[str, ...] = ()  # with their prefix
    dhcp: bool | Literal["ipv4", "ipv6"] = False  # of both families, or of one
    accept_ra: bool | None = None  # whether routers' advertisements of IPv6 are followed; null: as networkd has it
    gateways: tuple[str, ...] = ()  # default routers
    routes: tuple[Route, ...] = ()  # further routes
    dns: tuple[str, ...] = ()  # servers of names, for systemd-resolved
    domains: tuple[str, ...] = ()  # searched by it
    mtu: int | None = None  # bytes
    vlans: tuple[str, ...] = ()  # interfaces of other resources that are VLANs on this one
    vlan: Vlan | None = None  # it is made as a VLAN
    bridge: Bridge | None = None  # it is made as a bridge
    bond: Bond | None = None  # it is made of several
    dummy: bool = False  # it is made, and leads nowhere
    native: Native | None = None  # texts instead of all these


class Wanted(msgspec.Struct, frozen=True):
    """One interface: its files by name, and what must be seen of it then."""

    interface: str  # "" when it is found by mac
    mac: str
    files: dict[str, str]
    digest: str  # of the files
    creates: bool  # the interface is made by them
    ports: tuple[str, ...]
    addresses: tuple[str, ...]
    dhcp: tuple[int, ...]  # families
    gateways: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]  # network, and through whom ("": the link)
    mtu: int | None
    unmanaged: bool  # the text says that networkd leaves it alone


def wanted(spec: dict[str, Any], name: str) -> Wanted:
    """Return what the spec of the resource `name` wants. Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge."""
    if not is_name(name):
        raise WireError(f"{name[:100]!r} cannot name a file of settings", reason="BadName")
    given = shaped(spec, Spec)
    interface = "" if given.mac else _interface(given.interface or name, "spec.interface")
    if given.mac and (given.interface or not _MAC.fullmatch(given.mac)):
        raise invalid("spec.mac: lower-case hexadecimal with colons, and no interface beside it")
    texts = _native(given, interface) if given.native is not None else _texts(given, interface)
    files = {f"10-holdfast-{name}{end}": text for end, text in texts.items() if text}
    network = unit_text.read_unit(texts[".network"], "spec.native.network", "")
    made = (given.vlan, given.bridge, given.bond, given.dummy or None)
    return Wanted(
        interface=interface,
        mac=given.mac,
        files=files,
        digest=digest(files),
        creates=any(each is not None for each in made) or bool(texts[".netdev"]),
        ports=_ports(given),
        addresses=(*network.values("Network", "Address"), *network.values("Address", "Address")),
        dhcp=_families(network.values("Network", "DHCP")),
        gateways=tuple(each for each in network.values("Network", "Gateway") if _is_address(each)),
        routes=tuple((each.to, each.via) for each in given.routes),
        mtu=given.mtu,
        unmanaged=network.values("Link", "Unmanaged")[-1:] == ("yes",),
    )


def render(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the texts by file name, for /etc/systemd/network."""
    return wanted(spec, name).files


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the files the machine itself reads, by path below /etc."""
    return {
        f"systemd/network/{file}": f"# Install as /etc/systemd/network/{file}, then: networkctl reload\n{text}"
        for file, text in render(spec, name).items()
    }


def _native(given: Spec, interface: str) -> dict[str, str]:
    assert given.native is not None
    if msgspec.structs.replace(given, native=None, interface="", mac="") != Spec():
        raise invalid("spec.native: stands instead of all fields but interface or mac")
    for field, text in (
        ("network", given.native.network),
        ("netdev", given.native.netdev),
        ("link", given.native.link),
    ):
        read = unit_text.read_unit(text, f"spec.native.{field}", "")
        known = "NetDev" if field == "netdev" else "Match"
        if text and not any(each.section == known for each in read.settings):
            raise invalid(f"spec.native.{field}: there is no [{known}] section")
    if not given.native.network:
        raise invalid("spec.native.network: is needed", "[Match] and [Network], as systemd.network(5) has them")
    match = unit_text.read_unit(given.native.network, "spec.native.network", "")
    names, macs = match.words("Match", "Name"), match.words("Match", "MACAddress")
    if (names, macs) != (((), (given.mac,)) if given.mac else ((interface,), ())):
        raise invalid(
            "spec.native.network: [Match] must say Name= or MACAddress= of exactly this interface",
            "the same as spec.interface or spec.mac; no patterns",
        )
    return {".network": given.native.network, ".netdev": given.native.netdev, ".link": given.native.link}


def _texts(given: Spec, interface: str) -> dict[str, str]:
    made = [word for word in ("vlan", "bridge", "bond") if getattr(given, word) is not None]
    made += ["dummy"] if given.dummy else []
    if len(made) > 1:
        raise invalid(f"spec: {made[0]} and {made[1]} cannot both make the interface")
    if made and given.mac:
        raise invalid("spec.mac: an interface that is made is found by its name")
    if given.rename and not given.mac:
        raise invalid("spec.rename: needs mac")
    return {
        ".network": _network(given, interface),
        ".netdev": _netdev(given, interface, made[0]) if made else "",
        ".link": _link(given),
        "-ports.network": _ports_network(given, interface),
    }


def _network(given: Spec, interface: str) -> str:
    for field in ("addresses", "gateways", "routes", "dns", "domains", "vlans"):
        if len(getattr(given, field)) > MAX_ITEMS:
            raise invalid(f"spec.{field}: more than {MAX_ITEMS}")
    match = f"MACAddress={given.mac}" if given.mac else f"Name={interface}"
    lines = ["[Match]", match]
    if given.mtu is not None:
        if not 68 <= given.mtu <= 65535:
            raise invalid(f"spec.mtu: {given.mtu} is no MTU")
        lines += ["", "[Link]", f"MTUBytes={given.mtu}"]
    lines += ["", "[Network]"]
    lines += [f"Address={_with_prefix(each, f'spec.addresses[{n}]')}" for n, each in enumerate(given.addresses)]
    lines += [f"DHCP={given.dhcp if isinstance(given.dhcp, str) else 'yes' if given.dhcp else 'no'}"]
    lines += [] if given.accept_ra is None else [f"IPv6AcceptRA={'yes' if given.accept_ra else 'no'}"]
    lines += [f"Gateway={_address(each, f'spec.gateways[{n}]')}" for n, each in enumerate(given.gateways)]
    lines += [f"DNS={_address(each, f'spec.dns[{n}]')}" for n, each in enumerate(given.dns)]
    lines += [f"Domains={_domain(each, f'spec.domains[{n}]')}" for n, each in enumerate(given.domains)]
    lines += [f"VLAN={_interface(each, f'spec.vlans[{n}]')}" for n, each in enumerate(given.vlans)]
    if given.bridge or given.bond or given.vlan or given.dummy:
        lines += ["ConfigureWithoutCarrier=yes"]
    for number, route in enumerate(given.routes):
        lines += ["", "[Route]", *_route(route, f"spec.routes[{number}]")]
    return "\n".join(lines) + "\n"


def _route(route: Route, path: str) -> list[str]:
    to = (
        "0.0.0.0/0" if route.to == "default" and ":" not in route.via else "::/0" if route.to == "default" else route.to
    )
    lines = [f"Destination={_net(to, f'{path}.to')}"]
    if route.via:
        lines.append(f"Gateway={_address(route.via, f'{path}.via')}")
    if route.metric is not None:
        if not 0 <= route.metric < 2**32:
            raise invalid(f"{path}.metric: {route.metric} is no metric")
        lines.append(f"Metric={route.metric}")
    return lines


def _netdev(given: Spec, interface: str, kind: str) -> str:
    lines = ["[NetDev]", f"Name={interface}", f"Kind={kind}"]
    if given.vlan is not None:
        if not 0 < given.vlan.id < 4095:
            raise invalid(f"spec.vlan.id: {given.vlan.id} is no VLAN")
        lines += ["", "[VLAN]", f"Id={given.vlan.id}"]
    if given.bridge is not None:
        lines += ["", "[Bridge]", f"STP={'yes' if given.bridge.stp else 'no'}"]
    if given.bond is not None:
        lines += ["", "[Bond]", f"Mode={given.bond.mode}"]
    return "\n".join(lines) + "\n"


def _link(given: Spec) -> str:
    if not given.rename:
        return ""
    return f"[Match]\nMACAddress={given.mac}\n\n[Link]\nName={_interface(given.rename, 'spec.rename')}\n"


def _ports_network(given: Spec, interface: str) -> str:
    ports = _ports(given)
    if not ports:
        return ""
    if len(ports) > MAX_ITEMS or interface in ports or len(set(ports)) != len(ports):
        raise invalid("spec: ports must be other interfaces, each once")
    names = " ".join(_interface(each, "spec.ports") for each in ports)
    word = "Bridge" if given.bridge is not None else "Bond"
    return f"[Match]\nName={names}\n\n[Network]\n{word}={interface}\n"


def _ports(given: Spec) -> tuple[str, ...]:
    return given.bridge.ports if given.bridge is not None else given.bond.ports if given.bond is not None else ()


def _interface(text: str, path: str) -> str:
    if not _INTERFACE.fullmatch(text) or text in {"lo", "all", "default"}:
        raise invalid(
            f"{path}: {text[:40]!r} is no interface", f"as `ip link` shows it, at most {MAX_INTERFACE} characters"
        )
    return text


def _with_prefix(text: str, path: str) -> str:
    try:
        if "/" not in text or "%" in text:
            raise ValueError(text)
        return str(ipaddress.ip_interface(text))
    except ValueError:
        raise invalid(f"{path}: {text[:60]!r} is no address with its prefix", "192.168.7.10/24") from None


def _address(text: str, path: str) -> str:
    try:
        if "%" in text:
            raise ValueError(text)
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise invalid(f"{path}: {text[:60]!r} is no address") from None


def _net(text: str, path: str) -> str:
    try:
        if "%" in text:
            raise ValueError(text)
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise invalid(f"{path}: {text[:60]!r} is no network", "10.8.0.0/16, or default") from None


def _domain(text: str, path: str) -> str:
    if len(text) > 253 or not text or not _DOMAIN.fullmatch(text):
        raise invalid(f"{path}: {text[:60]!r} is no domain")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _families(said: Sequence[str]) -> tuple[int, ...]:
    word = said[-1].lower() if said else "no"
    return {"ipv4": (4,), "ipv6": (6,), "yes": (4, 6), "true": (4, 6), "1": (4, 6), "on": (4, 6)}.get(word, ())
