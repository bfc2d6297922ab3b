"""Restarts of a real machine by its agent: as a policy says, on request, and not while something speaks against it."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.booted import Booted, booted
from support.fleet import BIN
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root
NEEDED = "/run/reboot-required"
SETTINGS = "/etc/holdfast/edge.toml"
NOTICE = "/run/holdfast/reboot"
POLICY = """\
apiVersion: holdfast.io/v1alpha1
kind: RebootPolicy
metadata: {name: at-once}
spec: {when: required, grace: 2s, minimumUptime: 0s, attempts: 2}
"""
SHUT = """\
apiVersion: holdfast.io/v1alpha1
kind: MaintenanceWindow
metadata: {name: easter}
spec:
  schedule: {rrule: "FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=1", start: "2020-04-01 03:00", duration: 1h}
  gates: [reboots]
  timeZone: UTC
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Booted]:
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as name,
        booted(Path(name), "press-01", "--reboots", "--file-root", "/srv") as it,
    ):
        it.give({"kind": "File", "name": "a", "spec": {"path": "/srv/a", "content": "x\n"}})
        it.settled()
        yield it


def says(site: Booted) -> dict[str, Any]:
    """What the hub shows of restarts; empty while there is nothing."""
    rows = site.hub.site("press-01").get("reboot", [])
    return dict(rows[0]) if rows else {}


def boot_id(site: Booted) -> str:
    return site.machine.read("/proc/sys/kernel/random/boot_id").strip()


def goes_down_and_comes_back(site: Booted) -> None:
    until(site.machine.is_down, HANGS_S, "the machine to restart")
    site.machine.come_back()


def comes_to(site: Booted, outcome: str, cause: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        said = says(site)
        ours = said.get("last") == outcome and not said["needed"] and cause in audited(site)
        return said if ours else None

    said = until(there, HANGS_S, f"the hub to hear that it is {outcome}; {says(site)}", every=0.2)
    assert isinstance(said, dict)
    return said


def audited(site: Booted) -> str:
    done = site.machine.run([str(BIN / "holdfast-edge"), "status", "-o", "json"], check=False)
    status = json.loads(done.stdout or "{}")
    return " ".join(((status.get("status") or {}).get("reboot") or {}).get("last", {}).get("causes", ()))


def apply(site: Booted, text: str) -> None:
    done = site.hub.call("apply", "-f", "-", given=text)
    assert done.status == 0, done.err


def test_a_needed_restart_is_made_once_and_the_hub_hears_what_came_of_it(site: Booted) -> None:
    before = boot_id(site)
    site.machine.write(NEEDED, "*** System restart required ***\n")
    site.machine.write(f"{NEEDED}.pkgs", "linux-image-amd64\nlibc6\n")
    site.machine.run(["systemctl", "restart", "holdfast-edge.service"])
    said = until(lambda: says(site) if says(site).get("needed") else None, HANGS_S, "the need to be known", every=0.2)
    assert isinstance(said, dict)
    assert said["needed"] == "libc6 asks for it; linux-image-amd64 asks for it"
    assert "no RebootPolicy" in said["waits"]
    apply(site, POLICY)
    notice = until(lambda: site.machine.exists(NOTICE) and site.machine.read(NOTICE), HANGS_S, "the notice", every=0.05)
    assert "linux-image-amd64 asks for it" in str(notice)
    goes_down_and_comes_back(site)
    after = comes_to(site, "done", "libc6")
    assert after["last_seconds"] < 120
    assert boot_id(site) != before
    assert site.machine.read("/srv/a") == "x\n"
    site.settled()
    assert site.idle()
    assert not site.machine.exists(NOTICE)


def test_a_request_waits_for_its_window_is_withdrawn_and_served_when_nothing_is_in_the_way(site: Booted) -> None:
    settings = site.machine.read(SETTINGS)
    site.machine.write(SETTINGS, f'{settings}\n[systemd]\ndoor = "pystemd"\n', mode=0o600)  # the other way to say it
    site.machine.run(["systemctl", "restart", "holdfast-edge.service"])
    apply(site, SHUT)
    site.settled()
    asked = site.machine.run([str(BIN / "holdfast-edge"), "reboot", "--reason", "new fan"])
    assert "uid 0 asks: new fan" in asked.stdout
    assert "window easter opens" in asked.stdout
    plan = site.machine.run([str(BIN / "holdfast-edge"), "plan"], check=False).stdout
    assert "restart the machine, needed since" in plan
    assert "next chance" in plan
    assert "withdrawn: 1" in site.machine.run([str(BIN / "holdfast-edge"), "reboot", "--withdraw"]).stdout
    made = site.hub.call("site", "reboot", "press-01", "--reason", "new disks", "--for", "1h")
    assert made.status == 0, made.err
    until(lambda: "easter" in says(site).get("waits", ""), HANGS_S, "the request to wait", every=0.2)
    assert "asks: new disks" in says(site)["needed"]
    assert site.hub.call("delete", "-y", "maintenancewindow", "easter").status == 0
    goes_down_and_comes_back(site)
    comes_to(site, "done", "new disks")
    assert len(site.hub.call("get", "rebootrequests", "-o", "name").out.split()) == 1
    done = site.machine.run([str(BIN / "holdfast-edge"), "status"], check=False).stdout
    assert "last restart" in done


def test_a_need_that_comes_back_with_every_boot_does_not_restart_the_machine_for_ever(site: Booted) -> None:
    unit = f"[Service]\nType=oneshot\nExecStart=/usr/bin/touch {NEEDED}\n[Install]\nWantedBy=multi-user.target\n"
    site.machine.start_unit("needy.service", f"[Unit]\nBefore=holdfast-edge.service\n{unit}")
    site.machine.run(["systemctl", "restart", "holdfast-edge.service"])
    for _ in range(2):
        goes_down_and_comes_back(site)
    until(lambda: says(site).get("given_up"), HANGS_S, "giving up", every=0.2)
    said = says(site)
    assert said["given_up"] == f"{NEEDED} is there"
    assert said["last"] == "still-needed"
    shown = site.hub.call("describe", "site", "press-01").out
    assert f"restarts did not help: {NEEDED} is there" in shown
    until(lambda: "RebootGivenUp" in site.hub.call("describe", "site", "press-01").out, HANGS_S, "the alarm", every=0.3)
    assert not site.machine.is_down()
