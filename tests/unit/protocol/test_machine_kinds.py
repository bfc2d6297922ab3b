"""NetworkInterface, Hostname and Time: what they may ask for, the texts they are, and which changes are risky."""

from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import clock, hostname, network_interface
from holdfast_protocol.kinds.risk import is_risky


def files(name: str = "cell", /, **spec: Any) -> dict[str, str]:
    return network_interface.render(spec, name)


def refusal(**spec: Any) -> str:
    with pytest.raises(WireError) as caught:
        files("cell", **spec)
    return caught.value.message


def test_fields_become_the_text_networkd_reads() -> None:
    found = files(
        interface="eth1",
        addresses=["192.168.7.10/24", "FD00::1/64"],
        dhcp="ipv6",
        acceptRa=False,
        gateways=["192.168.7.1"],
        dns=["192.168.7.53"],
        domains=["~cell.test"],
        mtu=1400,
        vlans=["v30"],
        routes=[{"to": "10.0.0.0/8", "via": "192.168.7.2", "metric": 5}, {"via": "fd00::2"}],
    )
    assert found == {
        "10-holdfast-cell.network": (
            "[Match]\nName=eth1\n\n[Link]\nMTUBytes=1400\n\n[Network]\nAddress=192.168.7.10/24\nAddress=fd00::1/64\n"
            "DHCP=ipv6\nIPv6AcceptRA=no\nGateway=192.168.7.1\nDNS=192.168.7.53\nDomains=~cell.test\nVLAN=v30\n"
            "\n[Route]\nDestination=10.0.0.0/8\nGateway=192.168.7.2\nMetric=5\n"
            "\n[Route]\nDestination=::/0\nGateway=fd00::2\n"
        )
    }


def test_a_made_interface_has_a_netdev_and_its_ports_a_network_of_their_own() -> None:
    bridge = files(interface="br0", bridge={"ports": ["eth1", "eth2"], "stp": True})
    assert bridge["10-holdfast-cell.netdev"] == "[NetDev]\nName=br0\nKind=bridge\n\n[Bridge]\nSTP=yes\n"
    assert bridge["10-holdfast-cell-ports.network"] == "[Match]\nName=eth1 eth2\n\n[Network]\nBridge=br0\n"
    bond = files(interface="bond0", bond={"ports": ["eth1"], "mode": "802.3ad"})
    assert "Mode=802.3ad" in bond["10-holdfast-cell.netdev"]
    assert "Bond=bond0" in bond["10-holdfast-cell-ports.network"]
    assert files("v30", vlan={"id": 30})["10-holdfast-v30.netdev"].endswith("Name=v30\nKind=vlan\n\n[VLAN]\nId=30\n")
    assert "Kind=dummy" in files(dummy=True)["10-holdfast-cell.netdev"]


def test_an_interface_found_by_its_address_may_be_called_otherwise() -> None:
    found = files(mac="02:00:00:aa:bb:cc", rename="lan0")
    assert found["10-holdfast-cell.network"].startswith("[Match]\nMACAddress=02:00:00:aa:bb:cc\n")
    assert found["10-holdfast-cell.link"] == "[Match]\nMACAddress=02:00:00:aa:bb:cc\n\n[Link]\nName=lan0\n"


def test_native_text_is_taken_for_one_interface_and_read_for_what_must_be_seen() -> None:
    text = "[Match]\nName=eth1\n[Network]\nDHCP=yes\n[Address]\nAddress=10.0.0.2/24\n"
    want = network_interface.wanted({"interface": "eth1", "native": {"network": text}}, "cell")
    assert (want.addresses, want.dhcp, want.files) == (("10.0.0.2/24",), (4, 6), {"10-holdfast-cell.network": text})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"interface": "eth1/../x"}, "spec.interface: 'eth1/../x' is no interface"),
        ({"interface": "lo"}, "is no interface"),
        ({"interface": "a" * 16}, "is no interface"),
        ({"interface": "eth1\n[Network]"}, "is no interface"),
        ({"mac": "02:00"}, "spec.mac"),
        ({"mac": "02:00:00:aa:bb:cc", "interface": "eth1"}, "spec.mac"),
        ({"rename": "lan0"}, "spec.rename: needs mac"),
        ({"addresses": ["10.0.0.1"]}, "spec.addresses[0]: '10.0.0.1' is no address with its prefix"),
        ({"addresses": ["fe80::1%eth0/64"]}, "is no address with its prefix"),
        ({"gateways": ["10.0.0.0/8"]}, "spec.gateways[0]"),
        ({"dns": ["ns.test\nDHCP=yes"]}, "spec.dns[0]"),
        ({"domains": ["a b"]}, "spec.domains[0]"),
        ({"routes": [{"to": "10.0.0.1/8"}]}, "spec.routes[0].to"),
        ({"mtu": 10}, "spec.mtu: 10 is no MTU"),
        ({"vlan": {"id": 4095}}, "spec.vlan.id"),
        ({"vlan": {"id": 4}, "dummy": True}, "cannot both make"),
        ({"bridge": {"ports": ["cell"]}}, "ports must be other interfaces"),
        ({"bond": {"mode": "best"}}, "spec.bond.mode"),
        ({"native": {"network": "[Match]\nName=*\n"}}, "of exactly this interface"),
        ({"native": {"network": "[Match]\nName=eth0 eth1\n"}}, "of exactly this interface"),
        ({"native": {"network": "[Match]\nName=other\n"}, "interface": "eth1"}, "of exactly this interface"),
        ({"native": {"network": "[Network]\nDHCP=yes\n"}}, "no [Match] section"),
        ({"native": {"network": "[Match]\nName=cell\n"}, "mtu": 1400}, "stands instead of all fields"),
        ({"unknown": 1}, "unknown field"),
    ],
)
def test_what_no_interface_can_be_is_refused_with_its_place(spec: dict[str, Any], says: str) -> None:
    assert says in refusal(**spec)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a..b", "a" * 65, "localhost", "ü", "a\nb", "a_b"])
def test_what_cannot_name_a_machine_is_refused(name: str) -> None:
    with pytest.raises(WireError):
        hostname.wanted({"hostname": name}, "")


def test_a_machine_is_named_by_the_resource_unless_said() -> None:
    assert hostname.wanted({}, "press-01") == "press-01"
    assert hostname.native({"hostname": "press-01.acme.test"}, "x") == {"hostname": "press-01.acme.test\n"}


@pytest.mark.parametrize(
    "spec", [{}, {"timezone": "../etc/passwd"}, {"timezone": "/etc"}, {"ntpServers": ["a b"]}, {"ntpServers": ["a\nb"]}]
)
def test_what_is_no_time_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        clock.wanted(spec)


def test_time_is_said_in_the_words_of_who_keeps_it() -> None:
    want = clock.wanted({"timezone": "Europe/Berlin", "ntpServers": ["10.0.0.1", "ntp.test"]})
    assert clock.render_timesyncd(want) == "[Time]\nNTP=10.0.0.1 ntp.test\n"
    assert clock.render_chrony(want) == "server 10.0.0.1 iburst\nserver ntp.test iburst\n"
    found = clock.native({"timezone": "Europe/Berlin", "ntp": False}, "time")
    assert "ln -sfn /usr/share/zoneinfo/Europe/Berlin /etc/localtime" in found["localtime-time.txt"]
    assert "set-ntp false" in found["systemd/timesyncd.conf.d/90-time.conf"]


def test_what_may_cut_the_way_to_the_hub_is_called_risky() -> None:
    assert is_risky({"kind": "NetworkInterface"})
    assert is_risky({"kind": "Firewall"})
    assert is_risky({"kind": "Sysctl", "spec": {"settings": {"net.ipv4.ip_forward": 1}}})
    assert not is_risky({"kind": "Sysctl", "spec": {"settings": {"kernel.panic": 1}}})
    assert not is_risky({"kind": "Sysctl", "spec": {}})
    assert not is_risky({"kind": "File"})
