"""What a SystemdService may ask for, and how what stands is judged against it."""

from typing import Any

import pytest

from holdfast_edge.providers.systemd.names import escaped
from holdfast_edge.providers.systemd.port import UnitState
from holdfast_edge.providers.systemd.standing import Standing, standing
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.systemd_service import wanted
from holdfast_protocol.kinds.unit_names import unit_name
from holdfast_protocol.kinds.units import Wanted

RUN = "[Service]\nExecStart=/bin/a\n"
INSTALLED = RUN + "[Install]\nWantedBy=multi-user.target\n"


def reason(**spec: Any) -> str:
    with pytest.raises(WireError) as caught:
        wanted({"unit": INSTALLED} | spec, "driver", {"site-agent.service"})
    return caught.value.reason


def want(**spec: Any) -> Wanted:
    return wanted({"unit": INSTALLED} | spec, "driver")


def test_the_name_is_the_resource_s_unless_given() -> None:
    assert want().name == "driver.service"
    assert want(name="camera").name == "camera.service"
    assert want(name="camera.service").name == "camera.service"


@pytest.mark.parametrize(
    "name",
    ["a/b", "../x", "a b", "a\n", "", ".hidden", "-x", "x@", "x@y", "x.timer", "x.socket", "ü", "a" * 250, "a\0b"],
)
def test_a_name_that_is_none_of_a_service_is_refused(name: str) -> None:
    with pytest.raises(WireError) as caught:
        unit_name(name)
    assert caught.value.reason == "BadName"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    "name",
    ["dbus", "ssh.service", "sshd", "systemd-journald", "systemd-networkd.service", "holdfast-edge", "site-agent"],
)
def test_what_the_site_lives_by_is_refused(name: str) -> None:
    assert reason(name=name) == "EssentialUnit"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    "text",
    [
        "[Unit]\nConflicts=foo.service holdfast-edge.service\n" + RUN,
        "[Unit]\nConflicts=site-agent.service\n" + RUN,
        RUN + "[Install]\nAlias=ssh.service\n",
        "[Unit]\nConflicts=multi-user.target\n" + RUN,
    ],
)
def test_a_unit_that_would_stop_or_replace_what_the_site_lives_by_is_refused(text: str) -> None:
    assert reason(unit=text) == "EssentialUnit"
    assert reason(dropIns={"a": text}) == "EssentialUnit"


@pytest.mark.parametrize(
    "spec",
    [
        {"unit": 5},
        {"unit": None},
        {"enabled": "yes"},
        {"colour": "red"},
        {"dropIns": {"a": 1}},
        {"dropIns": {str(n): RUN for n in range(21)}},
        {"dropIns": {"a": RUN, "a.conf": RUN}},
    ],
)
def test_a_spec_of_another_shape_is_refused(spec: dict[str, Any]) -> None:
    assert reason(**spec) == "InvalidSpec"


def test_a_drop_in_needs_no_exec_start_but_must_be_unit_text_under_a_plain_name() -> None:
    assert [file.path for file in want(dropIns={"more": "[Service]\nNice=5\n"}).files] == [
        "driver.service",
        "driver.service.d/more.conf",
    ]
    assert reason(dropIns={"more": "Nice=5\n"}) == "BadUnit"
    assert reason(dropIns={"../more": RUN}) == "BadName"


def test_every_file_counts_for_the_digest() -> None:
    digests = {
        want().digest,
        want(unit=RUN).digest,
        want(dropIns={"a": RUN}).digest,
        want(dropIns={"b": RUN}).digest,
        want(name="other").digest,
    }
    assert len(digests) == 5
    assert want(enabled=False, running=False).digest == want().digest, "no restart for that"


def state(**fields: Any) -> UnitState:
    plain = {"load": "loaded", "active": "active", "sub": "running", "file_state": "enabled"}
    return UnitState("driver.service", **(plain | fields))


@pytest.mark.parametrize(
    ("spec", "fields", "differences", "readiness", "reason"),
    [
        ({}, {}, (), "ready", ""),
        ({}, {"active": "reloading"}, (), "ready", ""),
        ({}, {"active": "activating", "sub": "start"}, (), "progressing", "Starting"),
        ({}, {"active": "inactive", "sub": "dead"}, ("running: is inactive (dead)",), "degraded", "Inactive"),
        ({}, {"active": "inactive", "sub": "dead", "job": "start"}, (), "progressing", "Starting"),
        (
            {},
            {"active": "failed", "sub": "failed", "result": "start-limit-hit"},
            ("running: failed (failed)",),
            "degraded",
            "StartLimitHit",
        ),
        ({}, {"active": "failed", "sub": "failed"}, ("running: failed (failed)",), "degraded", "Failed"),
        ({}, {"active": "activating", "sub": "auto-restart", "result": "oom-kill"}, (), "degraded", "OomKill"),
        ({}, {"active": "activating", "sub": "auto-restart", "result": "success"}, (), "degraded", "Restarting"),
        (
            {},
            {"active": "deactivating", "sub": "stop-sigterm"},
            ("running: is deactivating (stop-sigterm)",),
            "progressing",
            "Stopping",
        ),
        ({}, {"file_state": "disabled"}, ("enabled: is disabled",), "ready", ""),
        ({}, {"file_state": "enabled-runtime"}, ("enabled: is enabled-runtime",), "ready", ""),
        ({}, {"load": "masked", "file_state": "masked"}, ("unit: masked",), "ready", ""),
        (
            {},
            {"load": "bad-setting", "active": "inactive"},
            ("running: is inactive (running)",),
            "degraded",
            "BadSetting",
        ),
        ({"unit": RUN}, {"file_state": "static"}, (), "ready", ""),
        ({"enabled": False}, {}, ("enabled: is enabled, wanted disabled",), "ready", ""),
        ({"enabled": False}, {"file_state": "disabled"}, (), "ready", ""),
        ({"running": False}, {}, ("running: is active (running), wanted stopped",), "progressing", "Stopping"),
        ({"running": False}, {"active": "inactive", "sub": "dead"}, (), "ready", "Stopped"),
        (
            {"unit": RUN + "Type=oneshot\n", "enabled": False},
            {"active": "inactive", "sub": "dead", "file_state": "static"},
            (),
            "ready",
            "Completed",
        ),
    ],
)
def test_what_systemd_reports_is_judged(
    spec: dict[str, Any], fields: dict[str, Any], differences: tuple[str, ...], readiness: str, reason: str
) -> None:
    found = standing(want(**spec), state(**fields))
    assert found == Standing(differences, readiness, reason, found.message)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path"), [("a.service", "a_2eservice"), ("1a-b.service", "_31a_2db_2eservice"), ("x_y", "x_5fy")]
)
def test_a_name_becomes_a_bus_path_as_systemd_escapes_it(name: str, path: str) -> None:
    assert escaped(name) == path
