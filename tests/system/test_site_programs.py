"""From `holdfast apply` to the site and back, of real processes: readyWhen holds up, late files are made, offline too, and
the status a blueprint projects is read at the hub."""

from pathlib import Path
from typing import Any

from support import slice as slices
from support.slice import SITE, Slice
from support.waiting import HANGS_S, until

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: report}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Report
    spec: {folder: string | required=true, text: string}
    status:
      bytes: ${source.status.size}
      conditions: ['${runtime.newCondition({type: "Summed", status: sum.status.size > 0 ? "True" : "False"})}']
  resources:
    - id: source
      readyWhen: ["${source.status.size > 3}"]
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: source}
        spec: {path: "${schema.spec.folder}/source", content: "${schema.spec.text}"}
    - id: after
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: after}
        spec: {path: "${schema.spec.folder}/after", content: "after ${source.metadata.name}"}
    - id: sum
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: sum}
        spec: {path: "${schema.spec.folder}/sum", content: "${source.status.sha256}"}
"""


def say(it: Slice, text: str) -> None:
    document = (
        "apiVersion: v1alpha1\nkind: Report\nmetadata: {name: daily}\n"
        f"spec: {{folder: {it.agent.root}, text: {text}, placement: {{labelSelector: {{}}}}}}\n"
    )
    done = it.hub.call("apply", "-f", "-", given=f"{BLUEPRINT}---\n{document}")
    assert done.status == 0, done.err


def told(it: Slice) -> dict[str, Any]:
    """Return what the hub says of the instance at its site."""
    answer = it.hub.call("describe", "instance", "daily", "-o", "json")
    assert answer.status == 0, answer.err
    (state,) = answer.json["site_states"]
    return dict(state)


def conditions(it: Slice) -> dict[str, dict[str, Any]]:
    return {each["key"]: each for each in it.hub.site(SITE)["resources"]}


def content(it: Slice, name: str) -> str:
    path = it.agent.root / name
    return path.read_text() if path.exists() else ""


def test_readiness_status_and_late_resources_from_apply_to_the_site_and_back(tmp_path: Path) -> None:
    with slices.running(tmp_path, online=False) as it:
        it.agent.start()
        say(it, "abc")
        until(lambda: told(it).get("phase") == "IN_PROGRESS", HANGS_S, "the hub to hear of the instance")
        until(lambda: conditions(it).get("File/source", {}).get("reason") == "ReadyWhen", HANGS_S, "the reason")
        assert (content(it, "source"), content(it, "after"), content(it, "sum")) == ("abc", "", "")
        shown = conditions(it)
        assert shown["File/source"]["type"] == "Progressing"
        assert "${source.status.size > 3}" in shown["File/source"]["message"]
        assert (shown["File/Report/daily:sum"]["type"], shown["File/after"]["type"]) == ("Waiting", "Waiting")

        say(it, "abcde")
        until(lambda: told(it)["state"] == "Converged", HANGS_S, "the instance to converge")
        assert content(it, "after") == "after source"
        assert len(content(it, "sum")) == 64
        until(lambda: told(it).get("phase") == "ACTIVE", HANGS_S, "the instance to be active")
        assert told(it)["status"] == {"bytes": 5}
        assert [(each["type"], each["status"]) for each in told(it)["conditions"]] == [("Summed", "True")]
        listed = it.hub.call("get", "instances")
        assert "ACTIVE" in listed.out
        assert "Summed=True" in it.hub.call("describe", "instance", "daily").out

        it.hub.stop()
        it.agent.kill()
        (it.agent.root / "sum").unlink()
        (it.agent.root / "after").write_text("by hand")
        it.agent.start()  # alone: decided again from what it holds
        until(
            lambda: content(it, "after") == "after source" and len(content(it, "sum")) == 64,
            HANGS_S,
            "the repair, offline",
        )
