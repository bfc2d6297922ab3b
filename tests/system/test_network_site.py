"""NetworkInterface, Hostname and Time on a real booted machine: made, changed, repaired, given back, killed in between."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.waiting import BOOTED_S, HANGS_S, until
from support.workbench import Refused, Workbench, workbench

pytestmark = pytest.mark.root
HOST0 = "[Match]\nName=host0\n[Link]\nUnmanaged=yes\n"
# timesyncd minds that this is a container; the clock is this host's, which no machine may set
TIMESYNCD = "[Unit]\nConditionVirtualization=\n[Service]\nCapabilityBoundingSet=~CAP_SYS_TIME\nAmbientCapabilities=\n"
ETC = ["/etc/systemd/network", "/etc/systemd/timesyncd.conf.d", "/etc/hostname", "/etc/timezone", "/etc/localtime"]


@pytest.fixture(scope="module")
def site() -> Iterator[Workbench]:
    with workbench() as site:
        site.machine.write("/etc/systemd/network/50-host0.network", HOST0)
        site.machine.write("/etc/systemd/system/systemd-timesyncd.service.d/lab.conf", TIMESYNCD)
        site.machine.run(["systemctl", "daemon-reload"])
        site.machine.run(["systemctl", "start", "systemd-networkd.service"])
        ip(site, "link", "add", "lan0", "type", "veth", "peer", "name", "far0")
        ip(site, "link", "set", "far0", "up")
        ip(site, "address", "add", "192.0.2.5/24", "dev", "lan0")
        ip(site, "link", "set", "lan0", "up", "mtu", "1450")
        yield site


def body(kind: str, name: str, /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def ip(site: Workbench, *words: str) -> str:
    return site.machine.run(["ip", *words]).stdout


def addresses(site: Workbench, interface: str) -> set[str]:
    (link,) = json.loads(ip(site, "-j", "address", "show", "dev", interface))
    return {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] != "link"}


def comes(what: Callable[[], object], wanted: object) -> None:
    """Wait until the machine itself is so: systemd-networkd, timesyncd and systemd act after they have been told."""
    until(lambda: what() == wanted, BOOTED_S, f"{wanted}")


def has(site: Workbench, interface: str, *wanted: str) -> None:
    comes(lambda: addresses(site, interface), set(wanted))


def routes(site: Workbench, *words: str, has: str) -> None:
    until(lambda: has in ip(site, "route", "show", *words), BOOTED_S, f"a route {has}")


def shown(site: Workbench, interface: str) -> dict[str, Any]:
    (link,) = json.loads(ip(site, "-j", "link", "show", "dev", interface))
    return dict(link)


def standing(site: Workbench) -> str:
    """Return what the machine's files say that these kinds may change."""
    listed = site.machine.run(["find", *ETC, "-printf", "%p %y %l %m\n"], check=False).stdout
    texts = site.machine.run(["cat", "/etc/hostname", "/etc/timezone"]).stdout
    return "\n".join(sorted(listed.splitlines())) + texts


def lan(*given: str, **spec: Any) -> dict[str, Any]:
    return body("NetworkInterface", "lan", interface="lan0", addresses=list(given), **spec)


def test_an_interface_is_configured_changed_repaired_and_given_back(site: Workbench) -> None:
    before = standing(site), addresses(site, "lan0"), shown(site, "lan0")["mtu"]
    first = lan("10.7.0.2/24", gateways=["10.7.0.1"], dns=["10.7.0.53"])
    assert not site.look(first)["exists"]
    site.prepare(first)
    seen = site.converge(first)
    has(site, "lan0", "10.7.0.2/24")
    routes(site, "default", "dev", "lan0", has="via 10.7.0.1")
    assert seen["status"]["dns"] == ["10.7.0.53"]

    newer = lan(
        "10.7.0.3/24", "fd00:7::3/64", mtu=1400, routes=[{"to": "10.9.0.0/16", "via": "10.7.0.9", "metric": 50}]
    )
    site.converge(newer)
    has(site, "lan0", "10.7.0.3/24", "fd00:7::3/64")
    comes(lambda: shown(site, "lan0")["mtu"], 1400)
    routes(site, "dev", "lan0", has="10.9.0.0/16 via 10.7.0.9")
    comes(lambda: ip(site, "route", "show", "default", "dev", "lan0"), "")

    site.drifts(newer, ["ip", "address", "delete", "10.7.0.3/24", "dev", "lan0"], "addresses: 10.7.0.3/24 is missing")
    site.drifts(newer, ["ip", "route", "delete", "10.9.0.0/16", "dev", "lan0"], "routes: none to 10.9.0.0/16")
    file = "/etc/systemd/network/10-holdfast-lan.network"
    site.drifts(newer, ["sed", "-i", "s/1400/1300/", file], "10-holdfast-lan.network: file: differs")

    site.killed("apply", first, "holdfast_edge.providers.network.live:Live.reload")
    assert "files: not in effect yet" in site.look(first)["differences"]
    site.converge(first)
    has(site, "lan0", "10.7.0.2/24")
    site.killed("remove", first, "holdfast_edge.providers.network.provider:NetworkInterfaceProvider._give_back")
    site.remove(first)
    comes(lambda: (standing(site), addresses(site, "lan0"), shown(site, "lan0")["mtu"]), before)


def test_an_interface_is_found_by_its_address_of_hardware(site: Workbench) -> None:
    mac = shown(site, "lan0")["address"]
    found = body("NetworkInterface", "by-mac", mac=mac, addresses=["10.8.0.2/24"])
    assert site.converge(found)["status"]["interface"] == "lan0"
    has(site, "lan0", "10.8.0.2/24")
    site.remove(found)
    has(site, "lan0", "192.0.2.5/24")


def test_a_bridge_is_made_with_its_ports_and_unmade(site: Workbench) -> None:
    ip(site, "link", "add", "port0", "type", "veth", "peer", "name", "port1")
    ip(site, "link", "set", "port1", "up")
    before = standing(site)
    bridge = body(
        "NetworkInterface",
        "cell",
        interface="br0",
        bridge={"ports": ["port0"]},
        addresses=["10.6.0.1/24"],
        acceptRa=False,
    )
    site.converge(bridge)
    comes(lambda: shown(site, "port0").get("master"), "br0")
    has(site, "br0", "10.6.0.1/24")
    before_it = site.woken()
    ip(site, "link", "set", "port0", "nomaster")
    until(lambda: site.woken() > before_it, BOOTED_S, "the drift to wake")
    if site.look(bridge)["differences"]:  # none: systemd-networkd has put it back by itself
        site.apply(bridge)
    site.settled(bridge)
    comes(lambda: shown(site, "port0").get("master"), "br0")
    site.drifts(bridge, ["ip", "link", "delete", "br0"], "interface: there is none")
    site.remove(bridge)
    comes(lambda: site.machine.run(["ip", "link", "show", "br0"], check=False).returncode, 1)
    assert standing(site) == before
    ip(site, "link", "delete", "port0")


@pytest.mark.invariant("only-owned-things-are-removed")
def test_an_interface_that_is_there_is_not_made_again_nor_taken(site: Workbench) -> None:
    ip(site, "link", "add", "br9", "type", "bridge")
    with pytest.raises(Refused) as caught:
        site.apply(body("NetworkInterface", "br9", bridge={}))
    assert caught.value.reason == "Foreign"
    site.remove(body("NetworkInterface", "br9", bridge={}))
    assert shown(site, "br9")
    ip(site, "link", "delete", "br9")


def test_native_text_stands_for_the_fields(site: Workbench) -> None:
    text = "[Match]\nName=lan0\n[Network]\nIPv6AcceptRA=no\nAddress=10.5.0.2/24\n"
    text += "[Route]\nDestination=10.4.0.0/16\nGateway=10.5.0.1\n"
    native = body("NetworkInterface", "raw", interface="lan0", native={"network": text})
    site.converge(native)
    routes(site, "dev", "lan0", has="10.4.0.0/16 via 10.5.0.1")
    site.drifts(native, ["ip", "address", "delete", "10.5.0.2/24", "dev", "lan0"], "addresses: 10.5.0.2/24 is missing")
    site.remove(native)


def test_a_file_of_somebody_else_that_decides_is_said(site: Workbench) -> None:
    site.machine.write("/etc/systemd/network/05-theirs.network", "[Match]\nName=lan0\n[Network]\nAddress=10.3.0.2/24\n")
    with pytest.raises(Refused) as caught:
        site.apply(lan("10.7.0.2/24"))
    assert caught.value.reason == "Overruled"
    assert "05-theirs.network" in caught.value.message
    site.remove(lan("10.7.0.2/24"))
    has(site, "lan0", "10.3.0.2/24")  # theirs decides still
    site.machine.run(["rm", "/etc/systemd/network/05-theirs.network"])
    site.machine.run(["networkctl", "reload"])
    has(site, "lan0")  # theirs is gone
    ip(site, "address", "add", "192.0.2.5/24", "dev", "lan0")


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_what_would_cut_the_way_to_the_hub_is_refused(site: Workbench) -> None:
    def refused(resource: dict[str, Any]) -> str:
        site.look(resource)
        with pytest.raises(Refused) as caught:
            site.check(resource)
        assert caught.value.reason == "HubWay"
        return caught.value.message

    ours = site.machine.address
    assert f"from {ours} on host0" in refused(body("NetworkInterface", "host0", addresses=["10.1.1.1/24"]))
    assert "nothing in spec leads there" in refused(body("NetworkInterface", "host0", addresses=[f"{ours}/30"]))
    assert "a port of br0" in refused(body("NetworkInterface", "br0", bridge={"ports": ["host0"]}))
    mac = shown(site, "host0")["address"]
    assert "does not keep" in refused(body("NetworkInterface", "by-mac", mac=mac, addresses=["10.1.1.1/24"]))
    keeps = body("NetworkInterface", "host0", addresses=[f"{ours}/30"], gateways=[site.machine.host_address])
    site.check(keeps)
    site.check(body("NetworkInterface", "host0", dhcp=True))


def test_an_interface_that_is_not_there_is_waited_for(site: Workbench) -> None:
    later = body("NetworkInterface", "later0", addresses=["10.2.0.2/24"])
    site.apply(later)
    seen = site.look(later)
    assert (seen["differences"], seen["readiness"], seen["reason"]) == ([], "degraded", "NoInterface")
    before = site.woken()
    ip(site, "link", "add", "later0", "type", "veth", "peer", "name", "later1")
    until(lambda: site.woken() > before, HANGS_S, "the new interface to wake")
    ip(site, "link", "set", "later1", "up")
    site.settled(later)
    site.remove(later)
    ip(site, "link", "delete", "later0")


def test_without_networkd_it_says_so(site: Workbench) -> None:
    site.machine.run(["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"])
    try:
        for ask in (site.prepare, site.apply):
            with pytest.raises(Refused) as caught:
                ask(lan("10.7.0.2/24"))
            assert (caught.value.kind, caught.value.reason) == ("TransientError", "NetworkdDown")
        assert site.look(lan("10.7.0.2/24"))["reason"] == "NetworkdDown"
    finally:
        site.machine.run(["systemctl", "start", "systemd-networkd.service"])


def test_the_machine_is_named_and_gets_its_name_back(site: Workbench) -> None:
    before = standing(site)
    first, second = body("Hostname", "name", hostname="cell-7"), body("Hostname", "name", hostname="cell-8.acme.test")
    assert site.look(first)["differences"] == ["file: differs", "hostname: is press-01, wanted cell-7"]
    assert site.converge(first)["status"] == {"hostname": "cell-7"}
    site.converge(second)
    comes(lambda: site.machine.run(["hostnamectl", "--static"]).stdout.strip(), "cell-8.acme.test")
    site.drifts(second, ["hostname", "somebody"], "hostname: is somebody")
    site.drifts(second, ["hostnamectl", "hostname", "somebody-else"], "file: differs")
    site.killed("remove", second, "holdfast_edge.providers.disk.texts:OwnedTexts.take_away")
    site.remove(second)
    assert site.machine.run(["hostname"]).stdout.strip() == "press-01"
    assert standing(site) == before


def test_two_names_for_one_machine_are_refused(site: Workbench) -> None:
    with pytest.raises(Refused) as caught:
        site.check(body("Hostname", "b", hostname="b"), [body("Hostname", "a", hostname="a")])
    assert caught.value.reason == "NameTaken"


def test_zone_and_clock_are_kept_and_given_back(site: Workbench) -> None:
    def timesyncd() -> list[str]:
        asked = ["systemctl", "show", "systemd-timesyncd", "--property=ActiveState,UnitFileState", "--value"]
        return site.machine.run(asked).stdout.split()

    before = standing(site), timesyncd()
    berlin = body("Time", "time", timezone="Europe/Berlin", ntp=True, ntpServers=["192.0.2.123", "ntp.acme.test"])
    site.prepare(berlin)
    seen = site.converge(berlin)
    assert site.machine.run(["date", "-d", "2026-07-01T12:00Z", "+%Z"]).stdout.strip() == "CEST"
    comes(timesyncd, ["active", "enabled"])
    asked = ["timedatectl", "show-timesync", "-p", "SystemNTPServers", "--value"]
    comes(lambda: site.machine.run(asked).stdout.split(), ["192.0.2.123", "ntp.acme.test"])
    assert seen["status"] == {
        "timezone": "Europe/Berlin",
        "ntp": True,
        "service": "systemd-timesyncd.service",
        "synchronized": False,
    }
    tokyo = ["ln", "-sfn", "/usr/share/zoneinfo/Asia/Tokyo", "/etc/localtime"]
    site.drifts(berlin, tokyo, "timezone: is Asia/Tokyo")
    site.drifts(berlin, ["systemctl", "stop", "systemd-timesyncd"], "ntp: systemd-timesyncd.service is inactive")
    conf = "/etc/systemd/timesyncd.conf.d/90-holdfast-time.conf"
    site.drifts(berlin, ["sed", "-i", "s/192/193/", conf], "ntpServers: differs")
    off = body("Time", "time", timezone="America/Lima", ntp=False)
    site.converge(off)
    comes(timesyncd, ["inactive", "disabled"])
    site.killed("apply", berlin, "holdfast_edge.providers.systemd.dbus:DbusSystemd.restart")
    assert "ntpServers: not in effect yet" in site.look(berlin)["differences"]
    site.converge(berlin)
    site.remove(berlin)
    comes(lambda: (standing(site), timesyncd()), before)


def test_a_zone_the_machine_does_not_know_is_refused_before_anything_changes(site: Workbench) -> None:
    before = standing(site)
    for verb in (site.prepare, site.apply):
        with pytest.raises(Refused) as caught:
            verb(body("Time", "time", timezone="Europe/Atlantis"))
        assert caught.value.reason == "UnknownZone"
    assert standing(site) == before


def test_a_firewall_is_parsed_by_the_kernel_before_anything_changes(site: Workbench) -> None:
    fine = body("Firewall", "edge", rules=[{"protocol": "tcp", "ports": [22]}])
    site.prepare(fine)
    with pytest.raises(Refused) as caught:
        site.prepare(body("Firewall", "edge", ruleset="chain a { tcp dport 1 jump nowhere; }"))
    assert caught.value.reason == "RulesetRefused"
    assert "holdfast" not in site.machine.run(["nft", "list", "tables"]).stdout
    assert not site.machine.exists("/etc/nftables.d/holdfast-edge.nft")
