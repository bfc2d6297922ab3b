"""A booted site with its cable cut: what dies comes back, what changed meanwhile arrives, and a reboot needs no network."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import images
from support.booted import Booted, booted
from support.fleet import BIN
from support.machines import Machine
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root
ENGINE = "unix:///run/docker.sock"
KEY = "net.ipv4.conf.all.secure_redirects"
READER = """\
[Service]
ExecStart=/bin/sh -c 'echo reading the configuration; cat /srv/press/config > /run/reader.seen; exec sleep infinity'
Restart=always
[Install]
WantedBy=multi-user.target
"""


def resources(version: str) -> list[dict[str, Any]]:
    """Return a site whose unit and container both have read a configuration."""
    pod = {
        "containers": [
            {
                "name": "main",
                "image": "press:1",
                "command": ["sh", "-c", "echo started with $VERSION; exec sleep 3600"],
                "env": [{"name": "VERSION", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "version"}}}],
            }
        ],
        "terminationGracePeriodSeconds": 0,
    }
    labels = {"app": "press"}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"version": version}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "press"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {**labels}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {"kind": "File", "name": "config", "spec": {"path": "/srv/press/config", "content": version}},
        {"kind": "SystemdService", "name": "reader", "spec": {"unit": READER, "restartOn": ["File/config"]}},
        {"kind": "SystemdService", "name": "bystander", "spec": {"unit": READER.replace("reader.seen", "other.seen")}},
        {"kind": "Firewall", "name": "wall", "spec": {"rules": [{"protocol": "tcp", "ports": [7001]}]}},
        {"kind": "Sysctl", "name": "redirects", "spec": {"settings": {KEY: 0}}},
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    options = ["--file-root", "/srv", "--systemd", "system", "--engine", ENGINE, "--kernel", "--profile", "mini"]
    folder = tmp_path_factory.mktemp("cut-off")
    with booted(folder, "press-01", *options, before=lambda machine: images.load(machine, "press:1")) as it:
        it.give(*resources("one"))
        it.settled()
        yield it


def container(machine: Machine) -> str:
    return machine.run(["docker", "ps", "-q", "--no-trunc", "--filter", "ancestor=press:1"], check=False).stdout.strip()


def version(machine: Machine) -> str:
    """Return the version the running container was started with."""
    found = container(machine)
    environment = machine.run(["docker", "inspect", "-f", "{{json .Config.Env}}", found], check=False).stdout
    return dict(each.split("=", 1) for each in json.loads(environment or "[]")).get("VERSION", "") if found else ""


def main_pid(machine: Machine, unit: str) -> str:
    return machine.run(["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout.strip()


def logs(machine: Machine, key: str) -> str:
    return machine.run([str(BIN / "holdfast-edge"), "logs", key], check=False).stdout


def test_a_site_cut_off_makes_a_dead_container_anew_from_its_local_image(site: Booted) -> None:
    machine = site.machine
    machine.cut()
    first = container(machine)
    assert first
    machine.run(["docker", "rm", "-f", first])
    second = str(until(lambda: container(machine), HANGS_S, "the container to be there again"))
    assert second != first
    until(lambda: "started with one" in logs(machine, "Deployment/press"), HANGS_S, "its logs, with no hub")
    until(lambda: "reading the configuration" in logs(machine, "SystemdService/reader"), HANGS_S, "the unit's")
    assert site.resources()["SystemdService/reader"]["type"] == "Ready"
    machine.restore()


def test_a_configuration_changed_while_a_site_was_away_arrives_and_whoever_had_read_it_is_started_again(
    site: Booted,
) -> None:
    machine = site.machine
    machine.cut()
    before, bystander = main_pid(machine, "reader"), main_pid(machine, "bystander")
    site.give(*resources("two"))
    assert machine.read("/srv/press/config") == "one"
    machine.restore()
    site.settled()
    until(lambda: machine.read("/run/reader.seen") == "two", HANGS_S, "the unit to have read the newer file")
    assert main_pid(machine, "reader") != before
    assert main_pid(machine, "bystander") == bystander, "who names no file is left alone"
    assert version(machine) == "two"


def test_after_a_reboot_with_no_network_everything_is_back_from_what_the_site_has(site: Booted) -> None:
    machine = site.machine
    wanted = machine.read("/srv/press/config")
    machine.cut()
    site.hub.kill()
    machine.run(["rm", "/srv/press/config", "/etc/systemd/system/reader.service"])
    machine.run(["systemctl", "stop", "holdfast-edge"])
    machine.run(["rm", "-f", "/srv/press/config"])
    machine.reboot(plugged=False)
    assert machine.run(["cat", "/sys/class/net/host0/carrier"]).stdout.strip() == "0"
    until(lambda: machine.exists("/srv/press/config"), HANGS_S, "the file")
    until(lambda: version(machine) == wanted, HANGS_S, "the container")
    until(lambda: machine.run(["systemctl", "is-active", "reader"], check=False).returncode == 0, HANGS_S, "the unit")
    until(lambda: "holdfast_wall" in machine.run(["nft", "list", "tables"]).stdout, HANGS_S, "the firewall")
    until(lambda: machine.read(f"/proc/sys/{KEY.replace('.', '/')}").strip() == "0", HANGS_S, "the kernel's setting")
    until(site.idle, HANGS_S, "nothing to be left to do")
    assert machine.read("/run/reader.seen") == wanted
    assert {each["type"] for each in site.resources().values()} == {"Ready"}
    machine.restore()
    site.hub.start()
    site.hub.ready()
    site.settled()
    fact = site.hub.call("get", "nodes", "-o", "json").out
    assert '"profile": "mini"' in fact
