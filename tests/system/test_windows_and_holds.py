"""When changes may happen, end to end: real hub, broker and agent; a window, a hold from the hub, a technician's hold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from support import slice as slices
from support.slice import SITE, Slice
from support.waiting import HANGS_S, until


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slice]:
    with slices.running(tmp_path_factory.mktemp("slice")) as made:
        yield made


def window(extra: str = "") -> str:
    """A window that opens in twelve hours, by the clock of this machine."""
    then = datetime.now(UTC) + timedelta(hours=12)
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: MaintenanceWindow\nmetadata: {name: nights}\nspec:\n"
        f'  schedule: {{cron: "{then.minute} {then.hour} * * *", duration: 1h}}\n'
        f"  timeZone: UTC\n  gates: [targets, downloads]\n{extra}"
    )


def applied(it: Slice, text: str) -> None:
    done = it.hub.call("apply", "-f", "-", given=text)
    assert done.status == 0, done.err


def reason(it: Slice, key: str = "File/said") -> str:
    found = {each["key"]: each["condition"] for each in it.status().get("status", {}).get("resources", ())}
    return f"{found[key]['type']}/{found[key]['reason']}" if key in found else ""


def test_a_new_target_waits_for_its_window_and_comes_with_an_extra_opening(it: Slice) -> None:
    applied(it, window())
    it.apply("two")
    until(lambda: reason(it) == "Waiting/Window", HANGS_S, "the site to wait for its window")
    assert it.said.read_text() == "one"
    plan = it.agent.call("plan")
    assert plan.status == 1
    assert "next chance" in plan.out
    told = it.hub.call("explain", "windows", SITE)
    assert told.status == 0
    assert "shut" in told.out
    assert "nights" in told.out
    until(lambda: "window nights opens" in str(it.hub.site(SITE)["resources"]), HANGS_S, "the hub to know why")
    gates = it.hub.site(SITE)["gates"]
    assert {each["gate"]: each["open"] for each in gates} == {"targets": False, "downloads": False}

    now = datetime.now(UTC)
    span = f'{{from: "{now - timedelta(hours=1):%Y-%m-%dT%H:%M}", to: "{now + timedelta(hours=1):%Y-%m-%dT%H:%M}"}}'
    applied(it, window(f"  exceptions: {{open: [{span}]}}\n"))
    it.converged("two")
    assert it.hub.call("delete", "maintenancewindow", "nights", "--yes").status == 0


def test_a_hold_from_the_hub_is_kept_told_everywhere_and_released(it: Slice) -> None:
    made = it.hub.call("hold", SITE, "--resource", "File/said", "--for", "2h", "--reason", "trial run", "-o", "name")
    assert made.status == 0, made.err
    until(lambda: "trial run" in it.agent.call("hold", "--list").out, HANGS_S, "the hold to reach the site")
    it.apply("three")
    until(lambda: reason(it) == "Held/Hold", HANGS_S, "the site to hold")
    until(lambda: it.state() != "Converged", HANGS_S, "the hub to see it")
    until(lambda: "trial run" in str(it.hub.site(SITE)["holds"]), HANGS_S, "the hub to be told of it")
    listed = it.hub.call("get", "holds")
    assert "trial run" in listed.out
    assert "File/said" in listed.out
    assert it.said.read_text() == "two"
    assert it.hub.call("release", SITE).status == 0
    it.converged("three")
    assert "no holds" in it.agent.call("hold", "--list").out


def test_a_technician_s_hold_is_not_fought_and_the_hub_sees_it(it: Slice) -> None:
    assert it.agent.call("hold", "File/said", "--for", "30m", "--reason", "replacing the drive").status == 0
    it.said.write_text("by hand")
    until(lambda: reason(it) == "Held/Hold", HANGS_S, "the drift to be held")
    until(lambda: "replacing the drive" in it.hub.call("get", "holds").out, HANGS_S, "the hub to list it")
    assert it.said.read_text() == "by hand"
    (held,) = it.agent.call("hold", "--list", "-o", "json").json["holds"]
    assert it.agent.call("hold", "--release", held["id"]).status == 0
    it.converged("three")
