"""How an interface stands against what is wanted: the differences, and its readiness. Pure."""

import ipaddress
from collections.abc import Mapping

import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.network.links import Link, Managed
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.kinds.network_interface import Wanted


class Standing(msgspec.Struct, frozen=True):
    differences: tuple[str, ...] = ()
    readiness: Readiness = "ready"
    reason: str = ""
    message: str = ""


def standing(
    want: Wanted,
    link: Link | None,
    state: Managed | None,
    links: Mapping[str, Link],
    down: ProviderError | None,
    *,
    settled: bool,
    folder: str,
) -> Standing:
    """Judge what the kernel and systemd-networkd show; the files are compared elsewhere. `settled`: they are as wanted
    and in effect; `down`: why systemd-networkd says nothing."""
    name = want.interface or want.mac
    if link is None:
        none = ("interface: there is none",) if want.creates and settled and down is None else ()
        return Standing(none, "degraded", "NoInterface", f"there is no interface {name}")
    if want.unmanaged:
        return Standing()
    if down is not None or state is None:
        found = differences(want, link, links)
        message = down.message if down is not None else f"systemd-networkd does not know {link.name}"
        return Standing(found, "degraded", down.reason if down is not None else "NotManaged", message)
    if settled and state.file and not state.file.startswith(f"{folder}/10-holdfast-") and state.state != "pending":
        return Standing(
            (f"file: {state.file} decides",), "degraded", "Overruled", f"{state.file} decides over {link.name}"
        )
    if state.state == "failed":
        return Standing(differences(want, link, links), "degraded", "Failed", f"systemd-networkd failed on {link.name}")
    if not link.carrier and not want.creates:
        return Standing((), "degraded", "NoCarrier", f"{link.name} has no carrier: nothing is at the other end")
    found = differences(want, link, links)
    if not found and not _has_lease(want, link):
        return Standing((), "progressing", "WaitingForLease", "no address by DHCP yet")
    return Standing(found)


def _has_lease(want: Wanted, link: Link) -> bool:
    """Return whether there is an address of version 4 beside the wanted, where DHCP is to bring one. Of version 6 none
    may ever come, and none need."""
    others = {ipaddress.ip_interface(each).version for each in link.addresses if each not in want.addresses}
    return 4 not in want.dhcp or 4 in others


def differences(want: Wanted, link: Link, links: Mapping[str, Link]) -> tuple[str, ...]:
    """Return what the kernel does not show as wanted."""
    there = {_interface(each) for each in link.addresses}
    found = [f"addresses: {each} is missing" for each in want.addresses if _interface(each) not in there]
    for gateway in want.gateways:
        network = "0.0.0.0/0" if ":" not in gateway else "::/0"
        if (network, gateway) not in link.routes:
            found.append(f"gateways: no default route through {gateway}")
    for to, via in want.routes:
        network = ("::/0" if ":" in via else "0.0.0.0/0") if to == "default" else to
        if (network, via) not in link.routes:
            found.append(f"routes: none to {to}" + (f" through {via}" if via else ""))
    if want.mtu is not None and link.mtu != want.mtu:
        found.append(f"mtu: is {link.mtu}, wanted {want.mtu}")
    found += [f"ports: {port} is not in it" for port in want.ports if port in links and links[port].master != link.name]
    return tuple(found)


def _interface(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError:  # of a native text: whatever networkd makes of it
        return text
