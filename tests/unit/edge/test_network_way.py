"""What would obviously cut the way to the hub, and what the tools say of interfaces."""

from typing import Any

import pytest

from holdfast_edge.providers.network.links import Link, find, links_of, managed_of
from holdfast_edge.providers.network.standing import standing
from holdfast_edge.providers.network.way import Path, cut
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.network_interface import Wanted, wanted

PATH = Path("eth0", "02:00:00:00:00:01", "10.0.0.2", "203.0.113.9")


def want(name: str = "eth0", /, **spec: Any) -> Wanted:
    return wanted(spec, name)


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    ("wants", "safe"),
    [
        (want(addresses=["10.0.0.2/24"], gateways=["10.0.0.1"]), True),
        (want(addresses=["10.0.0.2/24"], routes=[{"via": "10.0.0.1"}]), True),
        (want(addresses=["10.0.0.2/24"], routes=[{"to": "203.0.113.0/24", "via": "10.0.0.1"}]), True),
        (want(addresses=["10.0.0.2/24"]), False),
        (want(addresses=["10.0.0.2/24"], gateways=["fd00::1"]), False),
        (want(addresses=["10.0.0.3/24"], gateways=["10.0.0.1"]), False),
        (want(dhcp=True), True),
        (want(dhcp="ipv6"), False),
        (want("eth1", addresses=["10.0.0.3/24"]), True),
        (want("any", mac=PATH.mac, addresses=["10.0.0.3/24"]), False),
        (want("br0", bridge={"ports": ["eth0"]}, addresses=["10.0.0.2/24"], gateways=["10.0.0.1"]), False),
        (want(native={"network": "[Match]\nName=eth0\n[Network]\nDHCP=no\n"}), False),
        (want(native={"network": "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n"}), True),
    ],
)
def test_the_way_to_the_hub_is_kept(wants: Wanted, safe: bool) -> None:
    assert (cut(wants, PATH) == "") is safe


def test_an_interface_is_read_with_its_addresses_and_ways() -> None:
    addresses = (
        b'[{"ifname":"eth0","flags":["UP","LOWER_UP"],"mtu":1500,"address":"02:00:00:00:00:01","addr_info":['
        b'{"local":"10.0.0.2","prefixlen":24,"scope":"global"},{"local":"fe80::1","prefixlen":64,"scope":"link"}]}]'
    )
    four = b'[{"dst":"default","gateway":"10.0.0.1","dev":"eth0"},{"dst":"10.9.9.9","dev":"eth0"}]'
    links = links_of(addresses, (four, b""))
    link = links["eth0"]
    assert (link.addresses, link.up, link.carrier) == (("10.0.0.2/24",), True, True)
    assert link.routes == (("0.0.0.0/0", "10.0.0.1"), ("10.9.9.9/32", ""))
    assert find(links, "", "02:00:00:00:00:01") is link
    assert find(links, "eth7", "") is None


@pytest.mark.parametrize("answer", [b"", b"no", b"[]", b'{"Interfaces": 5}'])
def test_an_answer_that_is_no_list_is_asked_for_again(answer: bytes) -> None:
    with pytest.raises(TransientError):
        managed_of(answer)


def test_a_lease_that_has_not_come_is_waited_for_and_is_no_difference() -> None:
    link = Link("eth0", carrier=True, up=True)
    state = managed_of(b'{"Interfaces":[{"Name":"eth0","AdministrativeState":"configuring"}]}')["eth0"]

    def judged(link: Link) -> tuple[tuple[str, ...], str, str]:
        found = standing(want(dhcp=True), link, state, {"eth0": link}, None, settled=True, folder="/etc")
        return found.differences, found.readiness, found.reason

    assert judged(link) == ((), "progressing", "WaitingForLease")
    assert judged(Link("eth0", carrier=True, up=True, addresses=("10.0.0.7/24",))) == ((), "ready", "")
    assert judged(Link("eth0")) == ((), "degraded", "NoCarrier")
