"""Timers, sockets, mounts, drop-ins and units of others on a real booted machine: made, changed, repaired, given back."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.waiting import BOOTED_S, HANGS_S, until
from support.workbench import Refused, Workbench, workbench

pytestmark = pytest.mark.root
SERVICE = "[Service]\nType={type}\nExecStart={run}\n"
CRON = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def site() -> Iterator[Workbench]:
    with workbench() as site:
        yield site


def body(kind: str, name: str, /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def shown(site: Workbench, unit: str, *asked: str) -> list[str]:
    lines = site.machine.run(["systemctl", "show", unit, *(f"--property={each}" for each in asked)]).stdout.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return [values[each] for each in asked]


def comes(site: Workbench, unit: str, **wanted: str) -> None:
    """Wait until systemd itself says so: jobs go on after the apply that asked for them, and a look may be older."""
    until(lambda: shown(site, unit, *wanted) == list(wanted.values()), BOOTED_S, f"{unit} to be {wanted}")


def main_pid(site: Workbench, unit: str) -> str:
    (pid,) = shown(site, unit, "MainPID")
    return pid


def files(site: Workbench) -> set[str]:
    return set(
        site.machine.run(["find", "/etc/systemd/system", "(", "-type", "f", "-o", "-type", "l", ")"]).stdout.split()
    )


def timer(calendar: str) -> dict[str, Any]:
    return body("SystemdTimer", "tidy", unit=f"[Timer]\nOnCalendar={calendar}\n[Install]\nWantedBy=timers.target\n")


def test_a_timer_is_made_changed_repaired_and_taken_away(site: Workbench) -> None:
    before = files(site)
    job = body("SystemdService", "tidy", unit=SERVICE.format(type="oneshot", run="/bin/true"), running="onDemand")
    site.converge(job)
    assert shown(site, "tidy.service", "ActiveState", "ExecMainStartTimestampMonotonic") == ["inactive", "0"]
    seen = site.converge(timer("2099-01-01 03:00"))
    comes(site, "tidy.timer", ActiveState="active", UnitFileState="enabled")
    assert seen["status"]["nextElapse"] == "2099-01-01T03:00:00Z"
    assert (seen["status"]["activeState"], seen["status"]["subState"]) == ("active", "waiting")
    assert site.converge(timer("2098-01-01 03:00"))["detail"]["nextElapse"] == "2098-01-01T03:00:00Z"
    newer = timer("2098-01-01 03:00")
    site.drifts(newer, ["systemctl", "stop", "tidy.timer"], "running: is inactive")
    site.drifts(newer, ["systemctl", "disable", "--quiet", "tidy.timer"], "enabled: is disabled")
    site.drifts(newer, ["sed", "-i", "s/2098/2097/", "/etc/systemd/system/tidy.timer"], "unit: differs")
    site.remove(newer)
    site.remove(job)
    assert files(site) == before
    comes(site, "tidy.timer", LoadState="not-found", ActiveState="inactive")


def test_a_service_started_on_demand_is_neither_started_nor_stopped(site: Workbench) -> None:
    job = body(
        "SystemdService", "ondemand", unit=SERVICE.format(type="simple", run="/bin/sleep 999"), running="onDemand"
    )
    assert site.converge(job)["reason"] == "OnDemand"
    site.machine.run(["systemctl", "start", "ondemand.service"])
    site.converge(job)
    (first,) = shown(site, "ondemand.service", "MainPID")
    assert first != "0"
    newer = body(
        "SystemdService", "ondemand", unit=SERVICE.format(type="simple", run="/bin/sleep 998"), running="onDemand"
    )
    site.converge(newer)
    until(
        lambda: shown(site, "ondemand.service", "MainPID", "ActiveState") != [first, "active"],
        HANGS_S,
        "the newer text",
    )
    site.remove(newer)


def test_a_socket_starts_its_service_and_is_changed_while_that_runs(site: Workbench) -> None:
    def socket(port: int) -> dict[str, Any]:
        text = f"[Socket]\nListenStream={port}\n[Install]\nWantedBy=sockets.target\n"
        return body("SystemdSocket", "shop", unit=text)

    before = files(site)
    service = body(
        "SystemdService", "shop", unit=SERVICE.format(type="simple", run="/bin/sleep 1000"), running="onDemand"
    )
    site.converge(service)
    seen = site.converge(socket(7101))
    assert seen["status"]["subState"] == "listening"
    assert seen["status"]["connections"] == 0
    site.machine.run(["bash", "-c", "</dev/tcp/127.0.0.1/7101"])
    comes(site, "shop.service", ActiveState="active")
    site.settled(socket(7101))
    site.converge(socket(7102))

    def listens() -> list[bool]:
        listening = site.machine.run(["ss", "-Hltn"]).stdout
        return [f":{port} " in listening for port in (7101, 7102)]

    until(lambda: listens() == [False, True], BOOTED_S, "the new port alone to be listened on")
    site.drifts(socket(7102), ["systemctl", "stop", "shop.socket"], "running: is inactive")
    site.remove(socket(7102))
    site.remove(service)
    assert files(site) == before


def mount(options: str, what: str = "tmpfs", where: str = "/srv/scratch-1", kind: str = "tmpfs") -> dict[str, Any]:
    text = f"[Mount]\nWhat={what}\nWhere={where}\nType={kind}\nOptions={options}\n[Install]\nWantedBy=local-fs.target\n"
    return body("SystemdMount", "scratch", unit=text)


def test_a_mount_is_named_by_its_place_and_takes_options_without_losing_what_it_holds(site: Workbench) -> None:
    before = files(site)
    small, large = mount("size=1M"), mount("size=2M")
    seen = site.converge(small)
    assert seen["detail"]["unit"] == r"srv-scratch\x2d1.mount"
    assert seen["status"]["type"] == "tmpfs"
    site.machine.write("/srv/scratch-1/kept", "kept")
    site.converge(large, previous=small)
    assert site.machine.read("/srv/scratch-1/kept") == "kept"
    options = ["findmnt", "-no", "OPTIONS", "/srv/scratch-1"]
    until(lambda: "size=2048k" in site.machine.run(options).stdout, BOOTED_S, "the new options to be taken")
    site.drifts(large, ["umount", "/srv/scratch-1"], "running: is inactive")
    site.machine.write("/srv/source/file", "bound")
    bound = mount("bind,ro", what="/srv/source", kind="none")
    site.converge(bound, previous=large)
    assert site.machine.read("/srv/scratch-1/file") == "bound"
    site.remove(bound)
    assert files(site) == before
    assert site.machine.run(["findmnt", "/srv/scratch-1"], check=False).returncode == 1


def test_a_mount_in_use_is_left_until_it_is_free(site: Workbench) -> None:
    used = mount("size=1M", where="/srv/used")
    site.converge(used)
    stay = "cd /srv/used && exec sleep 1000"
    site.machine.run(["systemd-run", "--quiet", "--unit=user-of-it", "bash", "-c", stay])
    until(
        lambda: "/srv/used" in site.machine.run(["bash", "-c", "readlink /proc/[0-9]*/cwd"]).stdout, HANGS_S, "its user"
    )
    with pytest.raises(Refused) as caught:
        site.remove(used)
    assert (caught.value.kind, caught.value.reason) == ("TransientError", "StillStopping")
    site.machine.run(["systemctl", "stop", "user-of-it.service"])
    site.remove(used)


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    "where", ["/etc", "/usr/lib", "/var/lib", "/var/lib/holdfast", "/var/lib/holdfast/x", "/proc/sys"]
)
def test_nothing_is_mounted_over_the_machine_or_the_agent(site: Workbench, where: str) -> None:
    with pytest.raises(Refused) as caught:
        site.check(mount("size=1M", where=where))
    assert caught.value.reason in {"EssentialPath", "AgentPath"}


def drop_in(memory: str, **more: Any) -> dict[str, Any]:
    return body(
        "SystemdDropIn", "theirs", unit="theirs.service", dropIns={"limits": f"[Service]\nMemoryMax={memory}\n"}, **more
    )


@pytest.fixture
def theirs(site: Workbench) -> Iterator[str]:
    site.machine.start_unit("theirs.service", CRON)
    yield "theirs.service"
    site.machine.run(["systemctl", "disable", "--now", "--quiet", "theirs.service"], check=False)
    site.machine.run(["rm", "-f", "/etc/systemd/system/theirs.service"])
    site.machine.run(["systemctl", "daemon-reload"])


MEGA = 1024 * 1024


@pytest.mark.invariant("only-owned-things-are-removed")
def test_a_drop_in_of_a_unit_that_is_not_ours_takes_effect_and_leaves_no_trace(site: Workbench, theirs: str) -> None:
    before = files(site)
    first = main_pid(site, theirs)
    site.converge(drop_in("64M"))
    until(lambda: main_pid(site, theirs) not in ("0", first), BOOTED_S, "it to be restarted")
    comes(site, theirs, MemoryMax=str(64 * MEGA), ActiveState="active", Job="")
    pid = main_pid(site, theirs)
    site.converge(drop_in("64M"))
    assert main_pid(site, theirs) == pid, "it was restarted for nothing"
    site.converge(drop_in("32M", restart=False))
    assert main_pid(site, theirs) == pid
    limits = "/etc/systemd/system/theirs.service.d/limits.conf"
    site.drifts(drop_in("32M"), ["sed", "-i", "s/32M/16M/", limits], "dropIns: limits.conf differs")
    site.killed("remove", drop_in("32M"), "holdfast_edge.providers.systemd.unit_files:UnitFiles.take_away")
    assert site.machine.read(limits) == "", "the trace by which the next agent finds it"
    site.remove(drop_in("32M"))
    comes(site, theirs, MemoryMax="infinity", ActiveState="active", Job="")
    assert files(site) == before


def test_what_another_resource_writes_is_not_written_twice(site: Workbench) -> None:
    ours = body("SystemdService", "theirs", unit=CRON)
    for other in (drop_in("1M"), body("SystemdUnit", "theirs.service", enabled=False)):
        with pytest.raises(Refused) as caught:
            site.check(other, [ours])
        assert caught.value.reason == "NameTaken"


def unit(**spec: Any) -> dict[str, Any]:
    return body("SystemdUnit", "theirs", name="theirs.service", **spec)


@pytest.mark.invariant("only-owned-things-are-removed")
def test_a_unit_of_somebody_else_stands_as_wanted_and_then_as_before(site: Workbench, theirs: str) -> None:
    def stands(file: str, active: str) -> None:
        comes(site, theirs, UnitFileState=file, ActiveState=active)

    assert not site.look(unit(running=False))["reason"]
    site.converge(unit(enabled=False, running=False))
    stands("disabled", "inactive")
    site.drifts(unit(enabled=False, running=False), ["systemctl", "start", theirs], "running: is active")
    site.drifts(unit(enabled=False, running=False), ["systemctl", "enable", "--quiet", theirs], "enabled: is enabled")
    site.converge(unit(enabled=False))
    stands("disabled", "active")  # what is no longer wanted stands as before
    site.killed("apply", unit(enabled=True, running=False), "holdfast_edge.providers.systemd.dbus:DbusSystemd.stop")
    site.converge(unit(enabled=True, running=False))
    site.remove(unit())
    site.remove(unit())
    stands("enabled", "active")


def test_a_unit_is_masked_and_unmasked_again(site: Workbench) -> None:
    masked = body("SystemdUnit", "tidying", name="apt-daily.timer", masked=True)
    load, active = shown(site, "apt-daily.timer", "LoadState", "ActiveState")
    site.converge(masked)
    comes(site, "apt-daily.timer", LoadState="masked", ActiveState="inactive")
    site.drifts(masked, ["systemctl", "unmask", "--quiet", "apt-daily.timer"], "masked: is not")
    site.remove(masked)
    comes(site, "apt-daily.timer", LoadState=load, ActiveState=active)


def test_a_unit_that_systemd_would_not_mask_goes_on_running(site: Workbench, theirs: str) -> None:
    for verb in (site.prepare, site.apply):
        with pytest.raises(Refused) as caught:
            verb(unit(masked=True))
        assert caught.value.reason == "UnitExists"
    assert shown(site, theirs, "UnitFileState", "ActiveState") == ["enabled", "active"]


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_the_machine_s_own_units_and_the_agent_s_are_not_taken(site: Workbench) -> None:
    for name, spec in (
        ("dbus.service", {"running": False}),
        ("systemd-networkd.service", {"masked": True}),
        ("holdfast-edge.service", {"running": True}),
    ):
        with pytest.raises(Refused) as caught:
            site.check(body("SystemdUnit", "x", name=name, **spec))
        assert caught.value.reason == "EssentialUnit"
    site.check(body("SystemdUnit", "x", name="systemd-networkd.service", running=True))


def test_what_systemd_would_pass_over_is_an_error_with_its_line_before_anything_changes(site: Workbench) -> None:
    before = files(site)
    typo = body(
        "SystemdService",
        "sandboxed",
        unit=SERVICE.format(type="simple", run="/opt/not/there/yet") + "ProtectSystm=strict\n",
        dropIns={"more": "[Service]\nRestart=sometimes\n"},
    )
    with pytest.raises(Refused) as caught:
        site.prepare(typo)
    assert caught.value.reason == "BadUnit"
    assert "spec.unit line 4: Unknown key" in caught.value.message
    assert "spec.dropIns.more line 2: Failed to parse" in caught.value.message
    for bad in (timer("every tuesday-ish"), body("SystemdSocket", "s", unit="[Socket]\nListenStream=99999999\n")):
        with pytest.raises(Refused, match=r"spec\.unit line 2"):
            site.prepare(bad)
    fine = "ProtectSystem=strict\nPrivateTmp=yes\nNoNewPrivileges=yes\n"
    site.prepare(
        body("SystemdService", "sandboxed", unit=SERVICE.format(type="simple", run="/opt/not/there/yet") + fine)
    )
    site.prepare(mount("size=1M"))
    site.prepare(body("SystemdDropIn", "cron", unit="dbus-x.service", dropIns={"a": "[Service]\nNice=5\n"}))
    assert files(site) == before
