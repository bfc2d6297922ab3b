"""Changes that cut a real site off, which no check foresaw: gone back from by themselves, by the agent, its next start, or
the guard; the hub hears why. Those that cut nothing stay. (Scenario 18 of the peers.)"""

import re
import signal
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.booted import Booted, booted
from support.waiting import BOOTED_S, HANGS_S, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.invariant("agent-is-never-its-own-casualty"),
]
HOST0 = "[Match]\nName=host0\n[Link]\nUnmanaged=yes\n"
PORTS = "/proc/sys/net/ipv4/ip_local_port_range"
SETTINGS = "/etc/holdfast/edge.toml"
MAY = ("--kernel", "--network", "--systemd", "system", "--file-root", "/etc")
RULESET = "/etc/nftables.conf"


@pytest.fixture(scope="module")
def site() -> Iterator[Booted]:
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as name,
        booted(Path(name), "press-01", *MAY) as it,
    ):
        machine = it.machine
        machine.write("/etc/systemd/network/50-host0.network", HOST0)
        machine.run(["systemctl", "start", "systemd-networkd.service"])
        machine.run(["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "far0"])
        machine.run(["ip", "link", "set", "far0", "up"])
        machine.run(["ip", "link", "set", "lan0", "up"])
        text = machine.read(SETTINGS).replace("rollback = false", "rollback = true\n[dead_man]\nwithin_s = 12.0")
        machine.write(SETTINGS, text, mode=0o600)
        machine.run(["systemctl", "restart", "holdfast-edge.service"])
        it.give(lan(), ports("32768 60999"))
        it.settled()
        until(lambda: at_the_hub(it).get("last_good"), HANGS_S, "something to go back to")
        yield it


def lan(*routes: dict[str, Any]) -> dict[str, Any]:
    spec = {"interface": "lan0", "addresses": ["10.7.0.2/24"], "routes": list(routes)}
    return {"kind": "NetworkInterface", "name": "lan", "spec": spec}


def stolen(site: Booted, priority: int) -> dict[str, Any]:
    """The same interface with a rule that takes the hub's packets: by one that has nothing to do with the hub."""
    hub = hub_of(site)
    text = (
        "[Match]\nName=lan0\n[Network]\nIPv6AcceptRA=no\nAddress=10.7.0.2/24\n"
        f"[RoutingPolicyRule]\nTo={hub}/32\nTable=77\nPriority={priority}\n"
        f"[Route]\nDestination={hub}/32\nGateway=10.7.0.9\nTable=77\n"
    )
    spec = {"interface": "lan0", "native": {"network": text}}
    return {"kind": "NetworkInterface", "name": "lan", "spec": spec}


def hub_of(site: Booted) -> str:
    return str(tomllib.loads(site.machine.read(SETTINGS))["hub"]["host"])


def ports(value: str) -> dict[str, Any]:
    return {"kind": "Sysctl", "name": "ports", "spec": {"key": "net.ipv4.ip_local_port_range", "value": value}}


def wall(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Firewall", "name": "wall", "spec": {"policy": {"input": "drop"}, "rules": list(rules)}}


def other_firewall(site: Booted) -> tuple[dict[str, Any], dict[str, Any]]:
    """A firewall that is not ours, in the machine's own file, loaded by its own unit: of the hub's packets it lets none
    out, also of a connection that stands. A Firewall cannot: its always open rules come first in each of its chains."""
    text = (
        "flush ruleset\n"
        "table inet machine {\n  chain out {\n    type filter hook output priority -10; policy accept;\n"
        f"    ip daddr {hub_of(site)} drop\n  }}\n}}\n"
    )
    rules = {"kind": "File", "name": "rules", "spec": {"path": RULESET, "content": text}}
    loaded = {"kind": "SystemdUnit", "name": "nftables", "spec": {"name": "nftables.service", "running": True}}
    return rules, loaded


def blocked(site: Booted) -> bool:
    return f"ip daddr {hub_of(site)} drop" in site.machine.run(["nft", "list", "ruleset"]).stdout


def way(site: Booted) -> str:
    said = site.machine.run(["ip", "route", "get", hub_of(site)]).stdout
    found = re.search(r"dev (\S+)", said)
    return found[1] if found else ""


def at_the_hub(site: Booted) -> dict[str, Any]:
    said = site.hub.site(site.machine.name)["progress"]
    return dict(said[0]) if said else {}


def rolled_back(site: Booted, within: float = BOOTED_S) -> dict[str, Any]:
    generation = site.hub.site(site.machine.name)["generation"]

    def there() -> dict[str, Any] | None:
        found = site.hub.site(site.machine.name)
        said = at_the_hub(site)
        return said if (found["observed_generation"], said.get("phase")) == (generation, "rolled-back") else None

    said = until(there, within, "the hub to hear of the way back", every=0.2)
    assert isinstance(said, dict)
    return said


def test_a_route_that_takes_the_hub_away_is_gone_back_from_and_the_hub_hears_why(site: Booted) -> None:
    site.give(stolen(site, 100), ports("32768 60999"))
    until(lambda: way(site) == "lan0", HANGS_S, "the hub to be cut off")
    until(lambda: way(site) == "host0", HANGS_S, "the way to be back")
    said = rolled_back(site)
    assert said["resource"] == "NetworkInterface/lan"
    assert (said["reason"], said["failed_in"]) == ("RevertedByDeadMan", "apply")
    assert "no connection to the hub could be made for 12 s" in said["message"]
    assert "RevertedByDeadMan" in site.hub.call("describe", "site", site.machine.name).out


def test_changes_that_keep_the_link_stay(site: Booted) -> None:
    site.give(lan({"to": "10.9.0.0/16", "via": "10.7.0.9"}), ports("32768 61000"), wall())
    site.settled()
    assert "10.9.0.0/16" in site.machine.run(["ip", "route"]).stdout
    assert site.machine.read(PORTS).split() == ["32768", "61000"]
    assert "holdfast_wall" in site.machine.run(["nft", "list", "tables"]).stdout
    timers = site.machine.run(["systemctl", "list-timers", "--all", "--no-legend"]).stdout
    assert "holdfast-edge-guard" not in timers
    site.give(lan(), ports("32768 60999"))
    site.settled()


def test_a_kill_while_it_is_tried_goes_back_at_the_next_start(site: Booted) -> None:
    site.give(stolen(site, 101), ports("32768 60999"))
    until(lambda: way(site) == "lan0", HANGS_S, "the hub to be cut off")
    site.machine.run(["systemctl", "kill", "-s", "KILL", "holdfast-edge.service"])
    until(lambda: way(site) == "host0", HANGS_S, "the way to be back before its time")
    said = rolled_back(site)
    assert "started again before the way to the hub was tried" in said["message"]


def test_when_the_agent_hangs_the_guard_goes_back(site: Booted) -> None:
    site.give(lan(), ports("32768 60999"))
    site.settled()
    site.give(stolen(site, 102), ports("32768 60999"))
    until(lambda: way(site) == "lan0", HANGS_S, "the hub to be cut off")
    shown = site.machine.run(["systemctl", "show", "-p", "MainPID", "--value", "holdfast-edge.service"]).stdout
    site.machine.run(["kill", f"-{int(signal.SIGSTOP)}", shown.strip()])
    until(lambda: way(site) == "host0", HANGS_S, "the guard to go back")
    said = rolled_back(site)
    assert "the agent was gone or hung" in said["message"]


def test_a_firewall_that_cuts_the_hub_is_gone_back_from_and_the_hub_hears_why(site: Booted) -> None:
    before = site.machine.read(RULESET) if site.machine.exists(RULESET) else None
    rules, loaded = other_firewall(site)
    site.give(lan(), ports("32768 60999"), rules, loaded)
    until(lambda: blocked(site), HANGS_S, "the hub to be cut off")
    site.machine.run(["systemctl", "is-active", "nftables.service"])
    until(lambda: not blocked(site), HANGS_S, "the way to be back")
    said = rolled_back(site)
    assert said["reason"] == "RevertedByDeadMan"
    assert "no connection to the hub could be made for 12 s" in said["message"]
    assert site.machine.run(["systemctl", "is-active", "nftables.service"], check=False).returncode
    assert (site.machine.read(RULESET) if site.machine.exists(RULESET) else None) == before
    site.give(lan(), ports("32768 60999"))
    site.settled()
