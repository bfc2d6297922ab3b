"""The lab: sites booted as real machines, apart from each other, and gone afterwards."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import cgroups, images, leftovers, machines, network
from support.machines import Machine
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root

IDLE_UNIT = """\
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
OWNER = """\
import sys
from support import machines
with machines.lab() as lab:
    lab.hub_address()
    lab.boot("short-lived")
    print(lab.folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def two_sites() -> Iterator[tuple[Machine, Machine]]:
    assert machines.why_not() == ""
    with machines.lab() as lab:
        lab.hub_address()
        press, mill = lab.boot("press-01", "mill-02")
        yield press, mill


def answers(host: str, port: int) -> bool:
    """Return whether anything, if only a refusal, comes back from there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def test_two_sites_run_side_by_side_each_with_its_own_systemd_and_bus(two_sites: tuple[Machine, Machine]) -> None:
    for site in two_sites:
        assert site.run(["cat", "/proc/1/comm"]).stdout.strip() == "systemd"
        assert site.run(["hostname"]).stdout.strip() == site.name
        assert site.run(["systemctl", "is-system-running"], check=False).stdout.strip() in ("running", "degraded")
        asked = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
        assert '"' in site.run([*asked, "org.freedesktop.systemd1.Manager", "Version"]).stdout
    assert two_sites[0].read("/etc/machine-id") != two_sites[1].read("/etc/machine-id")


def test_the_processes_of_two_sites_are_in_groups_apart(two_sites: tuple[Machine, Machine]) -> None:
    press, mill = (set(Path(f"/proc/{site.leader}/cgroup").read_text().splitlines()) for site in two_sites)
    assert press.isdisjoint(mill)
    assert two_sites[0].leader in cgroups.processes(leftovers.group(two_sites[0].folder))


def test_the_project_and_its_python_are_there_as_they_are_here(two_sites: tuple[Machine, Machine]) -> None:
    said = (
        two_sites[0].run([sys.executable, "-c", "import holdfast_protocol; print(holdfast_protocol.__file__)"]).stdout
    )
    assert Path(said.strip()).is_relative_to(machines.REPOSITORY)


def test_a_file_written_at_one_site_is_on_no_other_and_not_here(two_sites: tuple[Machine, Machine]) -> None:
    press, mill = two_sites
    press.write("/etc/holdfast-lab/only-here", "Grüße\n", mode=0o600)
    assert press.read("/etc/holdfast-lab/only-here") == "Grüße\n"
    assert press.run(["stat", "-c", "%a", "/etc/holdfast-lab/only-here"]).stdout.strip() == "600"
    assert not mill.exists("/etc/holdfast-lab/only-here")
    assert not Path("/etc/holdfast-lab").exists()


def test_a_container_runs_in_the_sites_own_engine_within_its_limits(two_sites: tuple[Machine, Machine]) -> None:
    press, mill = two_sites
    images.load(press, "inspection:1", {"/etc/version": "one\n"})
    run = ["docker", "run", "--rm", "--memory", "32m", "--cpus", "0.5", "inspection:1"]
    assert press.run([*run, "cat", "/etc/version"]).stdout == "one\n"
    press.run(["docker", "run", "-d", "--name", "idle", "--memory", "32m", "inspection:1"])
    assert press.run(
        ["docker", "inspect", "-f", "{{.State.Running}} {{.HostConfig.Memory}}", "idle"]
    ).stdout.split() == [
        "true",
        str(32 * 1024 * 1024),
    ]
    assert mill.run(["docker", "images", "-q"]).stdout == ""
    press.run(["docker", "rm", "-f", "idle"])


def test_stopping_a_unit_at_one_site_leaves_the_unit_of_the_same_name_at_the_other(
    two_sites: tuple[Machine, Machine],
) -> None:
    press, mill = two_sites
    for site in two_sites:
        site.start_unit("idle.service", IDLE_UNIT)
    press.run(["systemctl", "stop", "idle"])
    assert mill.run(["systemctl", "is-active", "idle"]).stdout.strip() == "active"
    assert press.run(["systemctl", "is-active", "idle"], check=False).stdout.strip() == "inactive"


def test_a_cut_cable_carries_nothing_and_a_restored_one_carries_again(two_sites: tuple[Machine, Machine]) -> None:
    press, mill = two_sites
    assert answers(press.address, 9)
    press.cut()
    assert not answers(press.address, 9)
    assert "unreachable" in network.ip("route", "show", "type", "unreachable", "root", f"{press.address}/30")
    assert answers(mill.address, 9)
    press.restore()
    until(lambda: answers(press.address, 9), HANGS_S, "the cable to carry again")


def test_the_hubs_address_is_reached_from_every_site_and_nothing_else_is(two_sites: tuple[Machine, Machine]) -> None:
    press, mill = two_sites
    assert press.hub
    with socket.create_server((press.hub, 0)) as hub:
        port = hub.getsockname()[1]
        reach = f"import socket; print(socket.create_connection(({press.hub!r}, {port}), 5).getsockname()[0])"
        for site in two_sites:
            assert site.run([sys.executable, "-c", reach]).stdout.strip() == site.address
        apart = f"import socket; socket.create_connection(({mill.address!r}, 9), 5)"
        assert "Network is unreachable" in press.run([sys.executable, "-c", apart], check=False).stderr


@pytest.mark.parametrize("way", ["reboot", "power cut"])
def test_files_units_and_containers_survive(way: str, two_sites: tuple[Machine, Machine]) -> None:
    press, _ = two_sites
    press.write("/var/lib/kept", "kept\n")
    press.start_unit("idle.service", IDLE_UNIT)
    images.load(press, "inspection:1")
    press.run(["docker", "rm", "-f", "kept"], check=False)
    press.run(["docker", "run", "-d", "--name", "kept", "--restart", "always", "inspection:1"])
    press.run(["sync"])
    before = press.run(["cat", "/proc/1/stat"]).stdout.split()[21]
    if way == "reboot":
        press.reboot()
    else:
        press.cut_power()
        press.start()
    assert press.run(["cat", "/proc/1/stat"]).stdout.split()[21] != before
    assert press.read("/var/lib/kept") == "kept\n"
    assert press.run(["systemctl", "is-active", "idle"]).stdout.strip() == "active"
    state = ["docker", "inspect", "-f", "{{.State.Running}}", "kept"]
    until(lambda: press.run(state).stdout.strip() == "true", HANGS_S, "the container to be started again")
    assert answers(press.address, 9)


def traces(lab: Path, numbers: list[str]) -> list[str]:
    """Return what there still is of a lab."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(lab) in line]
    ours = {network.Cable(int(n)).link for n in numbers if n.isdecimal()} | {
        network.hub_link(int(n.rpartition("-")[2])) for n in numbers if not n.isdecimal()
    }
    links = sorted(ours & set(network.links()))
    groups = [str(f) for n in numbers for f in cgroups.folders(leftovers.group(lab / n)) if f.exists()]
    routes = [n for n in numbers if f"10.213.{n}.0/30" in network.ip("route", "show", "type", "unreachable")]
    processes = [
        str(entry)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and str(lab).encode() in _bytes(entry / "cmdline")
    ]
    return [*mounts, *links, *groups, *routes, *processes, *([str(lab)] if lab.exists() else [])]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """A process that has a lab with one machine, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(machines.REPOSITORY / "tests")},
    ) as process:
        yield process
        process.kill()


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()


ENDS: dict[str, Callable[[subprocess.Popen[str]], None]] = {
    "its end": _end,
    "ctrl-c": lambda process: process.send_signal(signal.SIGINT),
    "a termination": lambda process: process.send_signal(signal.SIGTERM),
    "a kill": lambda process: process.kill(),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_a_lab_after(end: str, owner: subprocess.Popen[str]) -> None:
    assert owner.stdout
    lab = Path(owner.stdout.readline().strip())
    numbers = [entry.name for entry in lab.iterdir()]
    assert len(traces(lab, numbers)) > 5
    ENDS[end](owner)
    owner.wait(30)
    until(lambda: not traces(lab, numbers), HANGS_S, "everything to be gone")


def test_a_lab_whose_keeper_was_killed_too_is_taken_down_by_the_next_one(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout
    lab = Path(owner.stdout.readline().strip())
    numbers = [entry.name for entry in lab.iterdir()]
    keepers = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    keeper = next(int(pid) for pid in keepers if b"support.leftovers" in _bytes(Path(f"/proc/{pid}/cmdline")))
    os.kill(keeper, signal.SIGKILL)
    owner.kill()
    owner.wait(30)
    assert traces(lab, numbers)
    with machines.lab():
        assert traces(lab, numbers) == []
