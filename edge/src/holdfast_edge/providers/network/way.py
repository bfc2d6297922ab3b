"""The agent's way to its hub, and what would obviously cut it."""

import ipaddress
import socket
from collections.abc import Mapping

import msgspec

from holdfast_edge.providers.network.links import Link
from holdfast_protocol.kinds.network_interface import Wanted
from holdfast_protocol.kinds.way import Way


class Path(msgspec.Struct, frozen=True):
    """From where the hub is reached now."""

    interface: str
    mac: str
    address: str  # ours
    hub: str  # its address


def find_path(way: Way, links: Mapping[str, Link], *, resolve: bool) -> Path | None:
    """Return from where packets to the hub go now, None when nowhere. No packet is sent. `resolve`: a hub's name may be
    looked up, which blocks; else only an address is followed."""
    flags = 0 if resolve else socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(way.host, way.port, type=socket.SOCK_DGRAM, flags=flags)
    except OSError:
        return None
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(address)
            except OSError:
                continue
            ours = str(probe.getsockname()[0]).partition("%")[0]
        for link in links.values():
            if any(each.partition("/")[0] == ours for each in link.addresses):
                return Path(link.name, link.mac, ours, str(address[0]).partition("%")[0])
    return None


def cut(want: Wanted, path: Path) -> str:  # [inv: agent-is-never-its-own-casualty]
    """Return why what is wanted would obviously cut the path, "" when it would not."""
    if path.interface in want.ports:
        return f"the hub is reached over {path.interface}, which would become a port of {want.interface}"
    if path.interface != want.interface and (not want.mac or path.mac != want.mac):
        return ""
    family = ipaddress.ip_address(path.address).version
    if want.unmanaged or family in want.dhcp:
        return ""
    ours = ipaddress.ip_address(path.address)
    interfaces = [ipaddress.ip_interface(each) for each in want.addresses if _is_interface(each)]
    if all(each.ip != ours for each in interfaces):
        return f"the hub is reached from {path.address} on {path.interface}, which spec.addresses does not keep"
    hub = ipaddress.ip_address(path.hub)
    networks = [each.network for each in interfaces]
    networks += [ipaddress.ip_network(to) for to, _ in want.routes if to != "default"]
    through = any(ipaddress.ip_address(each).version == family for each in want.gateways)
    through = through or any(to == "default" for to, _ in want.routes)
    if through or any(hub in network for network in networks if network.version == family):
        return ""
    return f"the hub at {path.hub} is reached over {path.interface}, and nothing in spec leads there"


def _is_interface(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True
