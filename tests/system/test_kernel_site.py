"""A whole booted site whose directory, kernel settings, modules and firewall are kept: by the hub, by drift, by a reboot."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import machines
from support.fleet import BIN, Hub, ended
from support.machines import Machine
from support.waiting import BOOTED_S, HANGS_S, until

pytestmark = pytest.mark.root
KEY = "net/ipv4/conf/all/secure_redirects"
AGENT = f"""\
[Service]
ExecStart={BIN}/holdfast-edge run --config /etc/holdfast/edge.toml
Restart=always
[Install]
WantedBy=multi-user.target
"""
BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: ground}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Ground
    spec: {port: integer | required=true, mode: string | required=true}
  resources:
    - id: data
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Directory
        metadata: {name: data}
        spec: {path: /srv/data/press, mode: "${schema.spec.mode}", group: daemon}
    - id: redirects
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Sysctl
        metadata: {name: redirects}
        spec: {settings: {net.ipv4.conf.all.secure_redirects: 0}}
    - id: cubic
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: KernelModule
        metadata: {name: cubic}
        spec: {name: tcp_cubic}
    - id: wall
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Firewall
        metadata: {name: wall}
        spec:
          policy: {input: drop, output: drop}
          rules: [{protocol: tcp, ports: ["${schema.spec.port}"], interface: host0}]
"""
PANIC = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: panic}
spec:
  schema: {apiVersion: v1alpha1, kind: Panic, spec: {}}
  resources:
    - id: panic
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Sysctl
        metadata: {name: panic}
        spec: {key: kernel.panic, value: 77}
---
apiVersion: holdfast.io/v1alpha1
kind: Panic
metadata: {name: panic}
spec: {placement: {labelSelector: {}}}
"""
INSTANCE = """\
apiVersion: holdfast.io/v1alpha1
kind: Ground
metadata: {{name: ground}}
spec: {{port: {port}, mode: "{mode}", placement: {{labelSelector: {{}}}}}}
"""


class Ground:
    """One booted site with an agent that may change its kernel, and its hub."""

    def __init__(self, machine: Machine, hub: Hub, kit: Path) -> None:
        self.machine = machine
        self.hub = hub
        added = hub.call("site", "add", machine.name, "--kit", kit, "--file-root", "/srv", "--kernel")
        assert added.status == 0, added.err
        for file in kit.iterdir():
            text = file.read_text() + (
                "\n[timing]\nlook_every_s = 1.0\nsoak_s = 1.0\n" if file.suffix == ".toml" else ""
            )
            machine.write(f"/etc/holdfast/{file.name}", text, mode=0o600)
        # nspawn hides /sys/module; the list a distribution's kernel brings along says the same of this one
        machine.write(f"/lib/modules/{os.uname().release}/modules.builtin", "kernel/net/ipv4/tcp_cubic.ko\n")
        machine.start_unit("holdfast-edge.service", AGENT)

    def apply(self, text: str) -> None:
        done = self.hub.call("apply", "-f", "-", given=text)
        assert done.status == 0, done.err

    def converged(self, within: float = BOOTED_S) -> None:
        def there() -> bool:
            site = self.hub.site(self.machine.name)
            return bool(site["state"] == "Converged" and site["observed_generation"] == site["generation"])

        try:
            until(there, within, "the site to converge")
        except TimeoutError as error:
            error.add_note(self.hub.call("describe", "site", self.machine.name).out)
            error.add_note(self.machine.journal("holdfast-edge.service", 40))
            raise

    def settled(self) -> bool:
        """Whether the agent, asked now, has nothing to do. An edit made while it loads a table would count as its own."""
        return self.machine.run([str(BIN / "holdfast-edge"), "plan"], check=False).returncode == 0

    def mode(self) -> str:
        return self.machine.run(["stat", "-c", "%a %G", "/srv/data/press"], check=False).stdout.strip()

    def setting(self) -> str:
        return self.machine.read(f"/proc/sys/{KEY}").strip()

    def tables(self) -> str:
        return self.machine.run(["nft", "list", "tables"]).stdout

    def lets_in(self, port: int) -> bool:
        """Return whether a packet from this host to a port of the machine is answered, if only by a refusal."""
        with socket.socket() as client:
            client.settimeout(0.5)
            try:
                client.connect((self.machine.address, port))
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                return False
            return True


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    assert machines.why_not() == ""
    folder = tmp_path_factory.mktemp("ground")
    with machines.lab() as lab:
        hub = Hub(folder / "hub", listen=f"{lab.hub_address()}:1883")
        with ended(hub):
            hub.start()
            (machine,) = lab.boot("press-01")
            hub.ready()
            yield Ground(machine, hub, folder / "kit")


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_a_site_is_built_changed_repaired_restored_by_a_reboot_and_given_back(ground: Ground) -> None:
    machine = ground.machine
    before = ground.setting()
    ground.apply(BLUEPRINT + "---\n" + INSTANCE.format(port=7001, mode="0750"))
    ground.converged()  # told by a site that lets nothing out but the way to its hub
    assert (ground.mode(), ground.setting(), before) == ("750 daemon", "0", "1")
    assert machine.exists("/etc/modules-load.d/holdfast-cubic.conf")
    assert (ground.lets_in(7001), ground.lets_in(7002)) == (True, False)
    out = ["timeout", "1", "bash", "-c", f"</dev/tcp/{machine.host_address}/22"]
    assert machine.run(out, check=False).returncode == 124, "something else than the hub was let out"

    ground.apply(INSTANCE.format(port=7002, mode="2770"))
    ground.converged()
    assert ground.mode() == "2770 daemon"
    assert (ground.lets_in(7001), ground.lets_in(7002)) == (False, True)

    machine.run(["nft", "flush", "ruleset"])
    until(lambda: "holdfast_wall" in ground.tables() and ground.settled(), HANGS_S, "the firewall to come back")
    machine.run(["nft", "insert", "rule", "inet", "holdfast_wall", "input", "accept"])
    until(lambda: not ground.lets_in(7001), HANGS_S, "the edit to be undone")
    machine.run(["chmod", "0777", "/srv/data/press"])
    machine.run(["sysctl", "-qw", f"{KEY}=1"])
    until(lambda: (ground.mode(), ground.setting()) == ("2770 daemon", "0"), HANGS_S, "mode and setting to come back")

    ground.hub.kill()
    machine.reboot()
    until(lambda: "holdfast_wall" in ground.tables() and not ground.lets_in(7001), HANGS_S, "the firewall after a boot")
    until(lambda: ground.setting() == "0", HANGS_S, "the setting after a boot")
    assert (ground.lets_in(7001), ground.lets_in(7002)) == (False, True)
    ground.hub.start()
    ground.hub.ready()
    ground.converged()

    ground.apply(PANIC)

    def refused() -> bool:
        return bool(re.search(r"Sysctl/panic.*Unsupported", ground.hub.call("describe", "site", machine.name).out))

    until(refused, HANGS_S, "the machine to say that its kernel is not its own")

    for instance in ("panic", "ground"):
        deleted = ground.hub.call("delete", "-y", "instance", instance)
        assert deleted.status == 0, deleted.err
    until(lambda: "holdfast" not in ground.tables(), HANGS_S, "the firewall to go")
    until(lambda: not machine.exists("/srv/data") and ground.setting() == before, HANGS_S, "the rest to be given back")
    left = machine.run(
        ["find", "/etc/sysctl.d", "/etc/modules-load.d", "/etc/nftables.d", "-name", "*holdfast*"], check=False
    )
    assert left.stdout == ""
