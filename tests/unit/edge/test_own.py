"""What is the agent's own is refused, kind by kind, before any provider looks."""

from typing import Any

import pytest

from holdfast_edge.core.own import Own, refuse
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.registry import Registry
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import systemd_drop_in, systemd_service, systemd_unit
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource
from support.provider import FakeProvider

pytestmark = pytest.mark.invariant("agent-is-never-its-own-casualty")
OWN = Own(("/var/lib/holdfast", "/etc/holdfast/edge.toml", "/opt/holdfast/venv"), "holdfast")
DENIED = ("holdfast-edge.service",)


def resource(kind: str, /, name: str = "x", **spec: Any) -> Resource:
    return target.resource({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def pod(path: str) -> dict[str, Any]:
    return {"containers": [], "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": path}}]}


REFUSED = [
    resource("File", path="/var/lib/holdfast/edge.db", content=""),
    resource("File", path="/etc/holdfast/edge.toml", content=""),
    resource("File", path="/opt/holdfast/venv/bin/python", content=""),
    resource("File", path="/etc/systemd/system/holdfast-edge.service", content=""),
    resource("File", path="/etc/systemd/system/holdfast-edge.service.d/x.conf", content=""),
    resource("File", path="/etc/systemd/system/service.d/x.conf", content=""),
    resource("File", path="/usr/lib/systemd/system/holdfast-.service.d/x.conf", content=""),
    resource("File", path="/etc/ld.so.preload", content="/lib/x.so"),
    resource("Directory", path="/var/lib/holdfast"),
    resource("Directory", path="/var/lib", mode="0700"),
    resource("Directory", path="/opt/holdfast"),
    resource("SystemdMount", unit="[Mount]\nWhat=tmpfs\nWhere=/opt/holdfast\n"),
    resource("SystemdMount", unit="[Mount]\nWhat=tmpfs\nWhere=/var/lib/holdfast/slots\n"),
    resource("User", name="holdfast", takeOver=True),
    resource("User", home="/var/lib/holdfast", removeHome=True),
    resource("User", home="/opt/holdfast"),
    resource("Package", name="holdfast-edge", state="absent"),
    resource("Package", packages=[{"name": "curl"}, {"name": "holdfast-edge", "version": "0.0.1"}]),
    resource("Sysctl", key="kernel.pid_max", value=10),
    resource("Sysctl", settings={"net.ipv4.ip_forward": 1, "fs.file-max": "0"}),
    resource("Pod", **pod("/var/lib/holdfast")),
    resource("Deployment", template={"spec": pod("/etc/holdfast")}),
    resource("DaemonSet", template={"spec": pod("/")}),
    resource("StatefulSet", template={"spec": pod("/opt/holdfast/venv/lib")}),
    resource("Job", template={"spec": pod("/var/lib/holdfast/..")}),
    resource("CronJob", jobTemplate={"spec": {"template": {"spec": pod("/opt/../var/lib/holdfast")}}}),
]
ALLOWED = [
    resource("File", path="/var/lib/holdfast-data/x", content=""),
    resource("File", path="/etc/holdfast/other.toml", content=""),
    resource("File", path="/etc/systemd/system/press.service.d/x.conf", content=""),
    resource("Directory", path="/srv/data"),
    resource("SystemdMount", unit="[Mount]\nWhat=tmpfs\nWhere=/srv/data\n"),
    resource("User", name="press", home="/home/press"),
    resource("Package", name="curl", state="absent"),
    resource("Package", name="holdfast-edge", state="held"),
    resource("Sysctl", key="kernel.pid_max", value=65536),
    resource("Pod", **pod("/srv/data")),
    resource("Firewall", policy={"input": "drop"}),
    resource("Toaster", path="/var/lib/holdfast"),
]


@pytest.mark.parametrize("harmful", REFUSED, ids=lambda each: f"{each.kind} {str(each.spec)[:60]}")
def test_what_would_take_or_change_the_agent_is_refused(harmful: Resource) -> None:
    with pytest.raises(PermanentError) as caught:
        refuse(OWN, harmful)
    assert caught.value.reason in ("AgentPath", "Protected")
    assert caught.value.hint


@pytest.mark.parametrize("harmless", ALLOWED, ids=lambda each: f"{each.kind} {str(each.spec)[:60]}")
def test_what_leaves_it_alone_is_not(harmless: Resource) -> None:
    refuse(OWN, harmless)


def test_every_check_asks_first_whether_it_is_the_agents_own() -> None:
    provider = FakeProvider("File")
    registry = Registry([provider], OWN)
    with pytest.raises(PermanentError, match="the agent's own"):
        registry.check(REFUSED[0], Scope({}))
    assert provider.calls == []
    registry.check(ALLOWED[0], Scope({}))
    assert provider.calls == [("check", "File/x")]


@pytest.mark.parametrize("unit", ["holdfast-edge.service", "holdfast-.service", "system.slice", "-.slice"])
def test_the_units_it_runs_in_get_no_settings_and_are_not_taken_down(unit: str) -> None:
    with pytest.raises(WireError) as caught:
        systemd_drop_in.wanted({"unit": unit, "dropIns": {"x": "[Unit]\nDescription=x\n"}}, "x", DENIED)
    assert caught.value.reason == "EssentialUnit"
    with pytest.raises(WireError):
        systemd_unit.wanted({"name": unit, "masked": True}, "x", DENIED)


@pytest.mark.parametrize("unit", ["poweroff.target", "reboot.target", "rescue.target", "emergency.service"])
def test_what_ends_the_machine_is_not_started(unit: str) -> None:
    with pytest.raises(WireError) as caught:
        systemd_unit.wanted({"name": unit, "running": True}, "x", DENIED)
    assert caught.value.reason == "EssentialUnit"


def test_a_machine_may_be_kept_from_ending_itself() -> None:
    assert systemd_unit.wanted({"name": "suspend.target", "masked": True}, "x", DENIED).masked


@pytest.mark.parametrize(
    "lines",
    [
        "[Unit]\nConflicts=holdfast-edge.service\n[Service]\nExecStart=/bin/true\n",
        "[Unit]\nBefore=holdfast-edge.service\n[Service]\nExecStart=/bin/true\n",
        "[Service]\nExecStart=/bin/true\n[Install]\nAlias=holdfast-edge.service\n",
        "[Service]\nExecStart=/bin/true\n[Install]\nRequiredBy=holdfast-edge.service\n",
    ],
)
def test_no_unit_stops_stands_in_for_or_holds_up_the_agent(lines: str) -> None:
    with pytest.raises(WireError) as caught:
        systemd_service.wanted({"unit": lines}, "x", DENIED)
    assert caught.value.reason == "EssentialUnit"
