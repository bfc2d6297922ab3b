"""IP addresses and networks in CEL, as Kubernetes has them: no zones, no IPv4 inside IPv6, no leading zeros."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message

from holdfast_protocol.blueprint.cel_types import is_value, text_of, value_of
from holdfast_protocol.blueprint.functions import Function

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
MAX_LENGTH: Final = 64
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
_LOCAL_GROUPS: Final = ipaddress.ip_network("224.0.0.0/24")


def address(text: str) -> Address:
    """Return an address. ValueError when it is none."""
    if len(text) <= MAX_LENGTH and "%" not in text:
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            found = None
        if found is not None and not (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped):
            return found
    raise ValueError(f"{text[:80]!r} is no IP address (no zones, no IPv4 inside IPv6)")


def network(text: str) -> Interface:
    """Return a network with the address it was written with. ValueError when it is none."""
    before, slash, after = text.partition("/")
    if len(text) > MAX_LENGTH or not slash or not _LENGTH.fullmatch(after):
        raise ValueError(f"{text[:80]!r} is no network: 10.0.0.0/8")
    return ipaddress.ip_interface(f"{address(before)}/{after}")


def _fits(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return fits


def _ip(value: Message) -> Address:
    return address(text_of(value, "ip"))


def _cidr(value: Message) -> Interface:
    return network(text_of(value, "cidr"))


def _is_canonical(text: str) -> bool:
    return str(address(text)) == text


def _is_local_group(value: Message) -> bool:
    found = _ip(value)
    if isinstance(found, ipaddress.IPv4Address):
        return found in _LOCAL_GROUPS
    return found.packed[0] == 0xFF and found.packed[1] & 0x0F == 0x02


def _is_global(value: Message) -> bool:
    found = _ip(value)
    special = found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local
    return not special and found != _BROADCAST


def _contains_ip(value: Message, other: Any) -> bool:
    inside = _ip(other) if isinstance(other, Message) else address(other)
    return inside in _cidr(value).network


def _contains_cidr(value: Message, other: Any) -> bool:
    outside, inside = _cidr(value), _cidr(other) if isinstance(other, Message) else network(other)
    return inside.ip in outside.network and outside.network.prefixlen <= inside.network.prefixlen


def _written(value: Message) -> str:
    return str(_ip(value)) if is_value(value, "ip") else str(_cidr(value))


FUNCTIONS: Final = (
    Function("isIP", ("string",), "bool", _fits(address)),
    Function("ip", ("string",), "ip", lambda text: value_of("ip", text=str(address(text)))),
    Function("ip.isCanonical", ("string",), "bool", _is_canonical),
    Function("family", ("ip",), "int", lambda value: _ip(value).version, member=True),
    Function("isUnspecified", ("ip",), "bool", lambda value: _ip(value).is_unspecified, member=True),
    Function("isLoopback", ("ip",), "bool", lambda value: _ip(value).is_loopback, member=True),
    Function("isLinkLocalMulticast", ("ip",), "bool", _is_local_group, member=True),
    Function("isLinkLocalUnicast", ("ip",), "bool", lambda value: _ip(value).is_link_local, member=True),
    Function("isGlobalUnicast", ("ip",), "bool", _is_global, member=True),
    Function("isCIDR", ("string",), "bool", _fits(network)),
    Function("cidr", ("string",), "cidr", lambda text: value_of("cidr", text=str(network(text)))),
    Function("ip", ("cidr",), "ip", lambda value: value_of("ip", text=str(_cidr(value).ip)), member=True),
    Function("masked", ("cidr",), "cidr", lambda value: value_of("cidr", text=str(_cidr(value).network)), member=True),
    Function("prefixLength", ("cidr",), "int", lambda value: _cidr(value).network.prefixlen, member=True),
    Function("containsIP", ("cidr", "ip"), "bool", _contains_ip, member=True),
    Function("containsIP", ("cidr", "string"), "bool", _contains_ip, member=True),
    Function("containsCIDR", ("cidr", "cidr"), "bool", _contains_cidr, member=True),
    Function("containsCIDR", ("cidr", "string"), "bool", _contains_cidr, member=True),
    Function("string", ("ip",), "string", _written, False, ((("ip",), "string"), (("cidr",), "string"))),
)
