"""One blueprint on two machines: kept by an agent on one, ejected and installed by its own script on the other."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_hub.blueprint.eject import eject
from holdfast_hub.blueprint.instance import check_instance
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from support import images, machines
from support.booted import Booted
from support.fleet import Hub, ended
from support.machines import Machine

pytestmark = pytest.mark.root
EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/station"
SYSCTL = "/proc/sys/net/ipv4/conf/all/secure_redirects"
UNIT = "station-heartbeat.service"
COLLECTOR = "/srv/station/otelcol.yaml"
OPTIONS = ["--label", "role=station", "--file-root", "/srv", "--kernel", "--systemd", "system"]
LIMITS = ("Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "CpuShares", "PidsLimit")
POLICY = (
    "RestartPolicy",
    "ReadonlyRootfs",
    "CapAdd",
    "CapDrop",
    "SecurityOpt",
    "GroupAdd",
    "NetworkMode",
    "PortBindings",
)
# What may differ, and why. Everything else must be equal.
DIFFERENCES = {
    "labels holdfast.io/* and ejected.*": "each knows its own containers by them",
    "sources of mounts": "folders of the agent's and of the script's state; what is in them is compared",
    "entrypoint and command": "docker's command line takes one word as entrypoint; what runs in the end is compared",
    "nothing said as none, [] or 0": "docker's command line says it in another way than its API",
    "the way to the hub": "rules that keep the agent's connection: an ejected machine has none",
    "comments of files": "they say who wrote the file and how",
    "names of files of settings": "holdfast-station.conf, 90-station.conf",
    "firewall-station.service": "loads the table at boot, which the agent does itself",
}


class Pair:
    def __init__(self, kept: Booted, clean: Machine, plan: Path) -> None:
        self.kept, self.clean, self.plan = kept, clean, plan

    def install(self, *options: str, name: str = "station", check: bool = True) -> str:
        done = self.clean.run(["/bin/sh", f"/root/plan/{name}/install.sh", *options], check=check)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    assert machines.why_not() == ""
    folder = tmp_path_factory.mktemp("eject")
    with machines.lab() as lab:
        hub = Hub(folder / "hub", listen=f"{lab.hub_address()}:1883")
        with ended(hub):
            hub.start()
            kept, clean = lab.boot("press-01", "press-02")
            hub.ready()
            for machine in (kept, clean):
                images.load(machine, "station:1")
            site = Booted(kept, hub, folder / "kit", [*OPTIONS, "--engine", "unix:///run/docker.sock"])
            applied = hub.call("apply", "-f", EXAMPLE)
            assert applied.status == 0, applied.err
            site.settled()
            ejected = hub.call("site", "eject", "press-01", "--output-dir", folder / "plan")
            assert ejected.status == 0, ejected.err
            assert "hold secrets" in ejected.err
            clean.run(["mkdir", "/root/plan"])
            clean.run(["tar", "-x", "-p", "-C", "/root/plan"], stdin=packed(folder / "plan"))
            yield Pair(site, clean, folder / "plan")


def packed(folder: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(folder, arcname=".")
    return made.getvalue()


def observed(machine: Machine) -> dict[str, Any]:
    """Return what is there of the blueprint, but for DIFFERENCES."""
    return {
        "containers": [container(machine, name) for name in machine.run(["docker", "ps", "-aq"]).stdout.split()],
        "unit": unit(machine),
        "rules": rules(machine),
        "sysctl": machine.read(SYSCTL).strip(),
        "sysctl.d": settings(machine, machine.run(["sh", "-c", "echo /etc/sysctl.d/*station.conf"]).stdout.strip()),
        "collector": (machine.read(COLLECTOR), standing(machine, COLLECTOR)),
        "folder": standing(machine, "/srv/station"),
    }


def container(machine: Machine, name: str) -> dict[str, Any]:
    (found,) = json.loads(machine.run(["docker", "inspect", name]).stdout)
    config, host = found["Config"], found["HostConfig"]
    script = "cd $1 && find . -type f -exec stat -c '%n %a' {} + -exec cat {} +"
    return {
        "image": config["Image"],
        "runs": [found["Path"], *found["Args"]],
        "environment": sorted(config["Env"]),
        "labels": {k: v for k, v in config["Labels"].items() if not k.startswith(("holdfast.io/", "ejected."))},
        "mounts": {
            each["Destination"]: (
                each["Type"],
                each["RW"],
                machine.run(["sh", "-c", script, "sh", each["Source"]]).stdout,
            )
            for each in found["Mounts"]
        },
        "folders": {each["Destination"]: standing(machine, each["Source"]) for each in found["Mounts"]},
        "limits": {key: host[key] or None for key in LIMITS},
        "policy": {key: host[key] or None for key in POLICY},
        "config": {
            key: config.get(key) for key in ("Hostname", "User", "WorkingDir", "StopTimeout", "Tty", "OpenStdin")
        },
        "running": found["State"]["Running"],
    }


def unit(machine: Machine) -> dict[str, Any]:
    shown = machine.run(
        ["systemctl", "show", UNIT, "-p", "ActiveState,SubState,UnitFileState,Description,Restart,Nice,Type,WantedBy"]
    ).stdout
    folder = "/etc/systemd/system"
    return {
        "shown": sorted(shown.splitlines()),
        "text": settings(machine, f"{folder}/{UNIT}"),
        "drop-in": settings(machine, f"{folder}/{UNIT}.d/nice.conf"),
        "files": [standing(machine, f"{folder}/{UNIT}"), standing(machine, f"{folder}/{UNIT}.d/nice.conf")],
    }


def settings(machine: Machine, path: str) -> list[str]:
    return [line for line in machine.read(path).splitlines() if line and not line.startswith(("#", ";"))]


def standing(machine: Machine, path: str) -> str:
    return machine.run(["stat", "-c", "%F %a %U %G", path]).stdout.strip()


def rules(machine: Machine) -> list[Any]:
    listed = json.loads(machine.run(["nft", "-j", "list", "table", "inet", "holdfast_station"]).stdout)["nftables"]
    found = [{k: v for k, v in body.items() if k != "handle"} for each in listed for body in each.values()]
    return [
        each
        for each in found
        if each.get("comment") != "holdfast: the way to the hub" and "json_schema_version" not in each
    ]


def different(one: Any, other: Any, where: str = "") -> list[str]:
    """Return each place where two observations differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in different(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for at, (a, b) in pairs for line in different(a, b, f"{where}[{at}]")]
    return [] if one == other else [f"{where}: {one!r} is not {other!r}"]


def everything(machine: Machine) -> dict[str, list[str]]:
    """Return all of a machine that an installation could change. Folders of links are systemctl's own to make and remove."""

    def said(*words: str) -> list[str]:
        return machine.run(words).stdout.splitlines()

    kept = "find /etc /srv /root /home /usr/local /var/lib -xdev ! -path '/root/plan*' ! -path '/var/lib/systemd/*'"
    kept += " ! -name '*-'"  # what the shadow tools keep of the version before
    kept += " ! -path '/root/.cache*'"  # the host's, seen through the overlay while others use it
    return {
        "files": sorted(said("sh", "-c", f"{kept} ! -type d -printf '%p %y %m %U %G %s %l\\n'")),
        "folders": sorted(said("sh", "-c", f"{kept} -type d ! -name '*.wants' -printf '%p %m %U %G\\n'")),
        "content": sorted(said("sh", "-c", "find /srv /etc/sysctl.d /etc/systemd -xdev -type f -exec sha256sum {} +")),
        "containers": said("docker", "ps", "-aq"),
        "images": said("docker", "images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"),
        "networks": said("docker", "network", "ls", "--format", "{{.Name}}"),
        "volumes": said("docker", "volume", "ls", "-q"),
        "rules": [line for line in said("nft", "list", "ruleset") if "counter" not in line],
        "sysctl": said("cat", SYSCTL),
        "names": said("hostname"),
        "accounts": said("cat", "/etc/passwd", "/etc/group", "/etc/shadow"),
        "units": said("systemctl", "list-unit-files", "--no-legend", "--no-pager"),
        "failed": said("systemctl", "--failed", "--no-legend", "--plain"),
    }


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> set[str]:
    return {f"{what}: {line}" for what in before for line in set(before[what]) ^ set(after[what])}


def test_an_ejected_folder_makes_a_clean_machine_what_the_kept_one_is_and_takes_it_all_back(pair: Pair) -> None:
    machine = pair.clean
    machine.write(COLLECTOR, "receivers: {}\n", mode=0o604)
    before = everything(machine)

    assert "would write /etc/systemd/system/station-heartbeat.service" in pair.install("--dry-run")
    assert changed(before, everything(machine)) == set()
    pair.install()
    assert different(observed(machine), observed(pair.kept.machine)) == []
    assert re.search(r"^0 changes$", pair.install(), re.MULTILINE), "again, nothing is to be done"

    machine.reboot()
    assert different(observed(machine), observed(pair.kept.machine)) == []

    assert "put back /srv/station/otelcol.yaml" in pair.install("--uninstall")
    assert changed(before, everything(machine)) == set()


def test_secrets_are_in_files_for_their_owner_only_and_in_no_word_of_the_script(pair: Pair) -> None:
    holding = {path for path in pair.plan.rglob("*") if path.is_file() and b"change-me" in path.read_bytes()}
    assert {path.name for path in holding} == {"TOKEN", "token.yaml", "docker-compose.yaml"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}


GROUND = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {{name: ground}}
spec:
  schema: {{apiVersion: v1alpha1, kind: Ground, spec: {{}}}}
  resources: {resources}
"""


def ground(machine: Machine, *resources: tuple[str, str, dict[str, Any]]) -> None:
    """Put a folder of such resources (kind, name, spec or fields) on the machine, in place of the one before."""
    bodies = []
    for number, (kind, name, spec) in enumerate(resources):
        ours = kind != "Secret"
        body = {"apiVersion": "holdfast.io/v1alpha1" if ours else "v1", "kind": kind, "metadata": {"name": name}}
        bodies.append({"id": f"r{number}", "template": body | ({"spec": spec} if ours else spec)})
    (blueprint,) = read_documents(GROUND.format(resources=json.dumps(bodies)))
    (document,) = read_documents("apiVersion: v1alpha1\nkind: Ground\nmetadata: {name: ground}\nspec: {}\n")
    definition = check_blueprint(blueprint).value
    made = eject(definition, check_instance(definition, document).value)
    machine.run(["rm", "-rf", "/root/plan/ground"])
    for path, content in made.files.items():
        machine.write(f"/root/plan/{path}", content, mode=made.modes.get(path, 0o644))


def test_accounts_names_and_units_of_every_kind_come_change_and_go(pair: Pair) -> None:
    machine = pair.clean
    machine.run(["useradd", "--create-home", "--shell", "/bin/sh", "veteran"])
    before = everything(machine)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKlzYQyl5HQOO1A8qQhBGlWJjZlq3kgsDWHWxtMu9QzY ada"
    crypt = "$6$abcdefgh$" + "x" * 86
    service = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    resources: list[tuple[str, str, dict[str, Any]]] = [
        ("Group", "printers", {"gid": 4100}),
        (
            "User",
            "ada",
            {"uid": 4001, "groups": ["printers"], "comment": "Ada L.", "passwordFrom": {"secret": "s", "key": "k"}},
        ),
        ("User", "veteran", {"shell": "/bin/bash", "takeOver": True}),
        ("SSHKey", "crew", {"user": "ada", "keys": [key]}),
        ("SSHKey", "old", {"user": "veteran", "keys": [key]}),
        ("Secret", "s", {"stringData": {"k": crypt}}),
        (
            "File",
            "of-ada",
            {"path": "/srv/ada/notes", "content": "x", "owner": "ada", "group": "printers", "mode": "0640"},
        ),
        ("Hostname", "press-07", {}),
        ("SystemdService", "round", {"unit": service, "running": "onDemand"}),
        ("SystemdTimer", "round", {"unit": "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n"}),
        ("SystemdMount", "scratch", {"unit": "[Mount]\nWhat=tmpfs\nType=tmpfs\nWhere=/srv/scratch\n"}),
        ("SystemdDropIn", "docker.service", {"dropIns": {"nice": "[Service]\nNice=1\n"}, "restart": False}),
    ]
    ground(machine, *resources)
    pair.install(name="ground")
    assert machine.run(["id", "-nG", "ada"]).stdout.split() == ["ada", "printers"]
    assert crypt in machine.read("/etc/shadow")
    assert machine.read("/home/ada/.ssh/authorized_keys") == f"{key} ejected:crew\n"
    assert standing(machine, "/home/ada/.ssh/authorized_keys") == "regular file 600 ada ada"
    assert machine.run(["getent", "passwd", "veteran"]).stdout.strip().endswith("/bin/bash")
    assert standing(machine, "/srv/ada/notes") == "regular file 640 ada printers"
    assert machine.run(["hostname"]).stdout.strip() == "press-07"
    for name in ("round.timer", "srv-scratch.mount"):
        assert machine.run(["systemctl", "is-active", name]).stdout.strip() == "active"
    assert re.search(r"^0 changes$", pair.install(name="ground"), re.MULTILINE)

    ground(machine, *(each for each in resources if each[0] != "SystemdTimer" and each[1] != "crew"))
    assert "disable --now round.timer" in pair.install(name="ground"), "what a newer folder lacks is taken back"
    assert not machine.exists("/etc/systemd/system/round.timer")
    assert not machine.exists("/home/ada/.ssh/authorized_keys")

    machine.run(["rm", "-rf", "/srv/ada/notes"])
    pair.install("--uninstall", name="ground")
    assert machine.exists("/home/ada"), "a home stays"
    machine.run(["rm", "-rf", "/home/ada"])
    assert changed(before, everything(machine)) == set()


def test_nothing_is_changed_where_something_stands_in_the_way(pair: Pair) -> None:
    machine = pair.clean
    machine.run(["ln", "-s", "/etc", "/srv/way"])
    before = everything(machine)
    files = [
        ("File", f"f{n}", {"path": path, "content": "x"}) for n, path in enumerate(("/srv/first", "/srv/way/second"))
    ]
    ground(machine, *files)
    assert "/srv/way is a link: nothing is done through it" in pair.install(name="ground", check=False)
    ground(machine, files[0], ("Sysctl", "none", {"key": "net.no_such_thing", "value": 1}))
    assert "this kernel has no setting net/no_such_thing" in pair.install(name="ground", check=False)
    assert "nothing of ground is installed here" in pair.install("--uninstall", name="ground", check=False)
    assert changed(before, everything(machine)) == set()
