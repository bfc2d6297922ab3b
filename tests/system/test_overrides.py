"""A technician's change from the site to the hub and back: shown there, adopted or dropped by a person, with real processes."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import mosquitto
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: limits}
spec:
  schema: {apiVersion: v1alpha1, kind: Limits, spec: {folder: string | required=true, speed: integer | required=true}}
  resources:
    - id: file
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: limits}
        spec: {path: "${schema.spec.folder}/limits", content: "speed ${string(schema.spec.speed)}\\n", mode: "0644"}
"""


class Site:
    def __init__(self, hub: Hub, agent: Agent) -> None:
        self.hub, self.agent = hub, agent
        self.file = agent.root / "limits"

    def wants(self, speed: int) -> None:
        text = (
            "apiVersion: holdfast.io/v1alpha1\nkind: Limits\nmetadata: {name: limits}\n"
            f"spec: {{folder: {self.agent.root}, speed: {speed}, placement: {{labelSelector: {{}}}}}}\n"
        )
        answer = self.hub.call("apply", "-f", "-", given=text)
        assert answer.status == 0, answer.err

    def says(self, text: str) -> None:
        until(lambda: self.file.exists() and self.file.read_text() == text, HANGS_S, f"the file to say {text!r}")

    def overrides(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.hub.call("get", "overrides", "-o", "json").json["items"]
        return found

    def override(self, text: str) -> dict[str, Any]:
        patch = json.dumps({"spec": {"content": text}})
        answer = self.agent.call(
            "override", "set", "File/limits", "--patch", patch, "--reason", "worn bearing", "-o", "json"
        )
        assert answer.status == 0, answer.err
        made = answer.json["override"]
        until(lambda: any(each["id"] == made["id"] for each in self.overrides()), HANGS_S, "the hub to know")
        return dict(made)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="hf-") as name, mosquitto.running("hub.conf") as broker:
        hub = Hub(Path(name) / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, Path(name) / "site", "press-01")
            with ended(agent):
                agent.start()
                assert hub.call("apply", "-f", "-", given=BLUEPRINT).status == 0
                made = Site(hub, agent)
                made.wants(10)
                made.says("speed 10\n")
                yield made


def test_a_change_at_the_site_is_kept_shown_at_the_hub_and_adopted_there(site: Site) -> None:
    made = site.override("speed 7\n")
    site.says("speed 7\n")
    assert "Overridden" in site.agent.call("status").out
    assert made["id"] in site.agent.call("override", "list").out
    site.wants(11)
    until(lambda: site.hub.site("press-01")["state"] == "Converged", HANGS_S, "the newer target")
    site.says("speed 7\n")
    (shown,) = site.overrides()
    assert (shown["site"], shown["resource"], shown["reason"]) == ("press-01", "File/limits", "worn bearing")
    assert shown["patch"] == {"spec": {"content": "speed 7\n"}}
    adopted = site.hub.call("override", "adopt", made["id"])
    assert adopted.status == 0, adopted.err
    assert "adopted" in adopted.out
    until(lambda: not site.overrides(), HANGS_S, "the override to be over")
    assert site.agent.call("override", "list").out == "no overrides\n"
    site.says("speed 7\n")
    assert f"override-{made['id']}" in site.hub.call("get", "overlays").out
    again = site.hub.call("override", "adopt", made["id"])
    assert (again.status, "no node reports" in again.err) == (3, True)
    assert site.hub.call("delete", "-y", "overlay", f"override-{made['id']}").status == 0
    site.says("speed 11\n")


def test_one_that_is_dropped_at_the_hub_goes_and_one_dropped_at_the_site_too(site: Site) -> None:
    made = site.override("speed 3\n")
    site.says("speed 3\n")
    assert site.hub.call("override", "drop", made["id"]).status == 0
    site.says("speed 11\n")
    until(lambda: not site.overrides(), HANGS_S, "the override to be over")
    second = site.override("speed 4\n")
    site.says("speed 4\n")
    assert site.agent.call("override", "drop", second["id"]).status == 0
    site.says("speed 11\n")
    until(lambda: not site.overrides(), HANGS_S, "the hub to know")
    site.override("speed 5\n")
    assert site.agent.call("override", "drop", "File/limits").status == 0
    site.says("speed 11\n")


def test_what_does_not_fit_is_refused_with_the_reason(site: Site) -> None:
    wrong = site.agent.call("override", "set", "File/limits", "--patch", '{"spec": {"colour": 1}}', "--reason", "x")
    assert (wrong.status, "unknown field 'colour'" in wrong.err) == (2, True)
    assert site.agent.call("override", "set", "File/limits", "--patch", "{}").status == 2
    assert site.agent.call("override", "drop", "nothing").status == 3
    missing = site.agent.call("override", "set", "File/other", "--patch", '{"spec": {}}', "--reason", "x")
    assert missing.status == 3
