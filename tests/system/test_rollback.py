"""A bad change on a real site: tried, gone back from, explained at the hub, and done with by the next good one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import mosquitto, user_systemd
from support.fleet import Agent, Hub, ended
from support.user_systemd import UserSystemd
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.root

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: driver}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Driver
    spec: {path: string | required=true, command: string | required=true}
  resources:
    - id: settings
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: settings}
        spec: {path: "${schema.spec.path}", content: "command ${schema.spec.command}\\n"}
    - id: unit
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: SystemdService
        metadata: {name: hf-driver}
        spec:
          unit: |
            [Unit]
            Description=driver of ${settings.spec.path}
            [Service]
            ExecStart=${schema.spec.command}
"""


class Site:
    def __init__(self, hub: Hub, agent: Agent, systemd: UserSystemd) -> None:
        self.hub, self.agent, self.systemd = hub, agent, systemd
        self.file = agent.root / "settings"

    def wants(self, command: str) -> None:
        text = (
            "apiVersion: holdfast.io/v1alpha1\nkind: Driver\nmetadata: {name: driver}\n"
            f"spec: {{path: {self.file}, command: {command}, placement: {{labelSelector: {{}}}}}}\n"
        )
        answer = self.hub.call("apply", "-f", "-", given=text)
        assert answer.status == 0, answer.err

    def progress(self) -> dict[str, Any]:
        said = self.hub.call("get", "site", "press-01", "-o", "json").json["progress"]
        found: dict[str, Any] = said[0] if said else {}
        return found

    def reaches(self, phase: str, generation: int) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            site = self.hub.site("press-01")
            said = site["progress"][0] if site["progress"] else {}
            return said if (site["observed_generation"], said.get("phase")) == (generation, phase) else None

        return until(there, HANGS_S, f"generation {generation} {phase}", every=0.2)

    def runs(self) -> tuple[str, str]:
        shown = self.systemd.systemctl("show", "-p", "ActiveState,ExecStart", "hf-driver.service").stdout.decode()
        command = shown.partition("path=")[2].partition(" ")[0]
        return command, shown.partition("ActiveState=")[2].partition("\n")[0]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as name,
        user_systemd.running(_made(Path(name) / "user")) as systemd,
        mosquitto.running("hub.conf") as broker,
    ):
        folder = Path(name)
        hub = Hub(folder / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, folder / "site", "press-01", systemd="user")
            with agent.config.open("a") as config:
                config.write("[transaction]\nprogress_deadline_s = 2.0\n")
            agent.enter = ["env", *(f"{key}={value}" for key, value in systemd.environ.items())]
            with ended(agent):
                agent.start()
                assert hub.call("apply", "-f", "-", given=BLUEPRINT).status == 0
                made = Site(hub, agent, systemd)
                made.wants("/bin/sleep 1000")
                made.reaches("stable", 1)
                yield made


def test_a_unit_that_does_not_run_is_gone_back_from_and_the_hub_says_why(site: Site) -> None:
    assert site.runs() == ("/bin/sleep", "active")
    site.wants("/bin/false")
    said = site.reaches("rolled-back", 2)
    assert (said["held"], said["last_good"], said["resource"]) == (1, 1, "SystemdService/hf-driver")
    assert said["failed_in"] in ("readiness", "verify")  # as it is caught: failed, or not active any more
    until(lambda: site.runs() == ("/bin/sleep", "active"), HANGS_S, "the old program to run")
    assert site.file.read_text() == "command /bin/sleep 1000\n"
    shown = site.hub.call("describe", "site", "press-01")
    assert "rolled-back" in shown.out
    assert "holdfast retry SITE" in shown.out
    judged = site.hub.site("press-01")
    assert judged["state"] == "Failed"
    assert judged["message"].startswith(
        f"rolled back, kept at generation 1: {said['failed_in']} SystemdService/hf-driver: "
    )
    reports = [(each["level"], each["outcome"]) for each in judged["reports"]]
    assert ("A3", "rolled-back") in reports


def test_at_the_site_status_and_plan_say_the_same_and_a_person_has_it_tried_again(site: Site) -> None:
    status = site.agent.call("status")
    assert "progress rolled-back: kept at generation 1, last good is generation 1" in status.out
    assert "SystemdService/hf-driver: " in status.out.partition("\nbecause ")[2].partition("\n")[0]
    assert "next: kept at generation 1 until a newer target" in status.out
    assert "never" in site.agent.call("plan").out
    assert site.agent.call("retry").out == "trying generation 2 again\n"
    until(lambda: "rolled-back" not in site.agent.call("status").out, HANGS_S, "another try")
    site.reaches("rolled-back", 2)


def test_the_hub_has_it_tried_again_as_a_new_generation(site: Site) -> None:
    assert site.hub.call("retry", "press-01").status == 0
    said = site.reaches("rolled-back", 3)
    assert said["held"] == 1
    assert site.hub.call("retry", "press-77").status == 3


def test_a_restart_of_the_agent_tries_nothing_again_and_the_next_good_change_goes_through(site: Site) -> None:
    site.agent.kill()
    site.agent.start()
    site.reaches("rolled-back", 3)
    assert site.runs() == ("/bin/sleep", "active")
    site.wants("/bin/sleep 2000")
    said = site.reaches("stable", 4)
    assert (said["held"], said["reason"]) == (4, "")
    assert site.file.read_text() == "command /bin/sleep 2000\n"
    until(lambda: site.hub.site("press-01")["state"] == "Converged", HANGS_S, "convergence")
