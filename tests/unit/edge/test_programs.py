"""What a site decides itself: late resources, readiness, status; and that only a decision removes."""

import subprocess
import sys
from typing import Any

import pytest

from holdfast_edge.core import late
from holdfast_edge.core.programs import compiled
from holdfast_edge.core.sights import Reference
from holdfast_protocol.wire.messages import Condition
from support.programs import Bench, content_of

HEAD = """
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: app}
spec:
  schema:
    apiVersion: v1alpha1
    kind: App
    spec: {name: string, on: boolean | default=true, n: integer | default=1}
    STATUS
  resources:
"""
INSTANCE = """
---
apiVersion: v1alpha1
kind: App
metadata: {name: NAME}
spec: {name: NAME}
"""


def config(id: str, value: str = "x", name: str = "", **rest: str) -> str:  # noqa: A002
    lines = "".join(f"      {key}: {text}\n" for key, text in rest.items())
    name = name or "${schema.spec.name}-" + id
    template = f'{{apiVersion: v1, kind: ConfigMap, metadata: {{name: "{name}"}}, data: {{x: "{value}"}}}}'
    return f"    - id: {id}\n{lines}      template: {template}\n"


def external(id: str, metadata: str, **rest: str) -> str:  # noqa: A002
    lines = "".join(f"      {key}: {text}\n" for key, text in rest.items())
    return f"    - id: {id}\n{lines}      externalRef: {{apiVersion: v1, kind: ConfigMap, metadata: {metadata}}}\n"


def a_bench(*entries: str, status: str = "", names: tuple[str, ...] = ("one",)) -> Bench:
    head = HEAD.replace("STATUS", f"status: {status}" if status else "")
    return Bench(content_of(head + "".join(entries) + "".join(INSTANCE.replace("NAME", name) for name in names)))


DB = config("db")
WEB = config("web", "${string(db.status.port)}")


def values(bench: Bench) -> dict[str, Any]:
    return {key.removeprefix("ConfigMap/"): one.body["data"]["x"] for key, one in bench.decision().wanted.items()}


def test_a_late_resource_is_wanted_once_what_it_reads_is_known() -> None:
    bench = a_bench(DB, WEB)
    first = bench.settle()
    assert set(first.wanted) == {"ConfigMap/one-db"}
    (row,) = first.rows.items()
    assert row[0] == "ConfigMap/App/one:web"
    assert (row[1].condition.type, row[1].condition.reason) == ("Waiting", "Undecided")
    assert "port" in row[1].condition.message
    bench.statuses["ConfigMap/one-db"] = {"port": 5432}
    decided = bench.settle()
    assert values(bench) == {"one-db": "x", "one-web": "5432"}
    assert decided.rows == {}
    web = next(one for key, one in decided.wanted.items() if key.endswith("web"))
    assert (web.depends_on, web.instance, web.id) == (("ConfigMap/one-db",), "App/one", "web")


@pytest.mark.invariant("nothing-is-removed-because-of-time")
@pytest.mark.parametrize("trouble", ["gone", "unready", "unseen"])
def test_what_cannot_be_decided_any_more_stays_as_it_was_last_applied(trouble: str) -> None:
    bench = a_bench(DB, WEB)
    bench.statuses["ConfigMap/one-db"] = {"port": 1}
    bench.settle()
    if trouble == "gone":
        bench.statuses.clear()
    else:
        getattr(bench, trouble).add("ConfigMap/one-db")
        bench.statuses["ConfigMap/one-db"] = {"port": 2}
    kept = bench.settle()
    assert values(bench)["one-web"] == "1"
    assert kept.kept["ConfigMap/one-web"].type == "Waiting"  # type: ignore[index]
    assert bench.removed == []


def test_what_is_decided_to_be_left_out_is_removed_with_what_needs_it() -> None:
    bench = a_bench(
        DB, config("web", includeWhen="['${db.status.port > 1000}']"), config("top", "${web.metadata.name}")
    )
    bench.statuses["ConfigMap/one-db"] = {"port": 5432}
    bench.settle()
    assert set(values(bench)) == {"one-db", "one-web", "one-top"}
    bench.statuses["ConfigMap/one-db"] = {}
    bench.settle()
    assert bench.removed == []
    bench.statuses["ConfigMap/one-db"] = {"port": 1}
    bench.settle()
    assert bench.removed == ["ConfigMap/one-top", "ConfigMap/one-web"]


def test_a_restart_knows_what_is_owned_again_and_keeps_it() -> None:
    bench = a_bench(DB, WEB)
    bench.statuses["ConfigMap/one-db"] = {"port": 7}
    bench.settle()
    again = Bench(bench.content)
    again.owned = bench.owned
    assert values(again)["one-web"] == "7"
    assert again.decision().kept["ConfigMap/one-web"] == late.NOT_YET  # type: ignore[index]


def test_an_instance_that_is_gone_takes_its_late_resources_along() -> None:
    bench = a_bench(DB, WEB, names=("one", "two"))
    bench.statuses = {f"ConfigMap/{name}-db": {"port": 7} for name in ("one", "two")}
    bench.settle()
    bench.content = a_bench(DB, WEB, names=("two",)).content
    bench.verdicts.clear()
    assert set(values(bench)) == {"two-db", "two-web"}


def test_items_of_a_late_collection_come_and_go_as_decided() -> None:
    zones = "[{zone: '${db.status.zones.map(z, string(z))}'}]"
    bench = a_bench(DB, config("items1", "${zone}", "${schema.spec.name}-${zone}", forEach=zones))
    bench.statuses["ConfigMap/one-db"] = {"zones": ["a", "b"]}
    bench.settle()
    assert set(values(bench)) == {"one-db", "one-a", "one-b"}
    bench.statuses["ConfigMap/one-db"] = {}
    bench.settle()
    assert set(values(bench)) == {"one-db", "one-a", "one-b"}
    bench.statuses["ConfigMap/one-db"] = {"zones": ["b"]}
    bench.settle()
    assert bench.removed == ["ConfigMap/one-a"]


def test_ready_when_is_said_of_the_very_resource_with_its_expression() -> None:
    bench = a_bench(config("db", readyWhen="['${db.status.port > 0}']"), WEB)
    bench.settle()
    (unmet,) = bench.judged("App/one").unmet.items()
    assert unmet[0] == "ConfigMap/one-db"
    assert (unmet[1].type, unmet[1].reason) == ("Progressing", "ReadyWhen")
    assert "${db.status.port > 0}" in unmet[1].message
    bench.statuses["ConfigMap/one-db"] = {"port": 1}
    bench.settle()
    assert bench.judged("App/one").unmet == {}


def test_an_evaluation_error_is_a_condition_with_its_place() -> None:
    bench = a_bench(DB, config("web", "${string(1 / db.status.port)}"))
    bench.statuses["ConfigMap/one-db"] = {"port": 0}
    (row,) = bench.settle().rows.values()
    assert (row.condition.type, row.condition.reason) == ("Failed", "EvaluationFailed")
    assert "template.data.x: divide by zero" in row.condition.message
    status = bench.judged("App/one").status
    assert status is not None
    assert status.state == "ERROR"


def test_status_and_conditions_are_projected() -> None:
    conditions = '[\'${runtime.newCondition({type: "Served", status: db.status.port > 0 ? "True" : "False"})}\']'
    bench = a_bench(DB, status=f"{{port: '${{db.status.port}}', conditions: {conditions}}}")
    bench.settle()
    status = bench.judged("App/one").status
    assert status is not None
    assert (status.state, status.status, status.conditions) == ("ACTIVE", {}, ())
    bench.statuses["ConfigMap/one-db"] = {"port": 3}
    bench.settle()
    status = bench.judged("App/one").status
    assert status is not None
    assert status.status == {"port": 3}
    assert [(each["type"], each["status"]) for each in status.conditions] == [("Served", "True")]


def test_what_a_provider_says_nothing_of_has_a_ready_condition() -> None:
    ready = "${db.status.conditions.filter(c, c.type == 'Ready')[0].status}"
    bench = a_bench(DB, status=f'{{ready: "{ready}"}}')
    bench.settle()
    status = bench.judged("App/one").status
    assert status is not None
    assert status.status == {"ready": "True"}


def test_an_external_object_is_another_of_the_target_or_what_a_provider_finds() -> None:
    other = external("other", "{name: one-db}")
    bench = a_bench(DB, other, config("web", "${string(other.status.port)}"))
    bench.statuses["ConfigMap/one-db"] = {"port": 9}
    bench.settle()
    assert values(bench)["one-web"] == "9"
    far = a_bench(external("far", "{name: elsewhere}"), config("web", "${far.data.x}"))
    rows = far.settle().rows
    assert {key: row.condition.reason for key, row in rows.items()} == {
        "ConfigMap/App/one:far": "NotThere",
        "ConfigMap/App/one:web": "Undecided",
    }
    reference = Reference("ConfigMap", "elsewhere")
    assert far.judged("App/one").asked == {reference}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "elsewhere"}, "data": {"x": "seen"}}
    far.found[reference] = (body,)
    far.settle()
    assert values(far) == {"one-web": "seen"}
    far.found[reference] = None
    far.settle()
    assert values(far) == {"one-web": "seen"}, "nobody can look now: it stays"


def test_a_selector_takes_what_matches_and_decides_nothing_while_somebody_cannot_look() -> None:
    every = external("every", "{selector: {matchExpressions: [{key: app, operator: In, values: [x]}]}}")
    each = config("items1", "${z}", "${schema.spec.name}-${z}", forEach="[{z: '${every.map(e, string(e.data.x))}'}]")
    labelled = DB.replace('metadata: {name: "', 'metadata: {labels: {app: x}, name: "')
    bench = a_bench(labelled, every, each)
    bench.settle()
    assert set(values(bench)) == {"one-db"}, "nobody looked outside the target yet"
    bench.found[Reference("ConfigMap")] = ()
    bench.settle()
    assert set(values(bench)) == {"one-db", "one-x"}
    bench.unseen.add("ConfigMap/one-db")
    bench.settle()
    assert bench.removed == []


@pytest.mark.invariant("only-owned-things-are-removed")
def test_a_late_resource_takes_over_nothing_that_another_has() -> None:
    bench = a_bench(DB, config("web", "${string(db.status.port)}", "shared"), names=("one", "two"))
    bench.statuses = {f"ConfigMap/{name}-db": {"port": 7} for name in ("one", "two")}
    decided = bench.settle()
    assert decided.wanted["ConfigMap/shared"].instance == "App/one"  # type: ignore[index]
    (row,) = decided.rows.values()
    assert (row.instance, row.condition.type, row.condition.reason) == ("App/two", "Failed", "Claimed")
    assert "App/one" in row.condition.message
    taken = a_bench(DB, config("web", "${string(db.status.port)}", "${schema.spec.name}-db"))
    taken.statuses["ConfigMap/one-db"] = {"port": 7}
    assert taken.settle().wanted["ConfigMap/one-db"].id == "db"  # type: ignore[index]


def test_who_has_a_name_keeps_it_whatever_its_place_in_the_order() -> None:
    both = a_bench(DB, config("web", "${string(db.status.port)}", "shared"), names=("one", "two"))
    both.statuses["ConfigMap/two-db"] = {"port": 7}
    both.settle()
    both.statuses["ConfigMap/one-db"] = {"port": 8}
    assert both.settle().wanted["ConfigMap/shared"].instance == "App/two"  # type: ignore[index]


def test_a_name_no_resource_may_have_is_refused_with_its_reason() -> None:
    bench = a_bench(DB, config("web", "x", "${db.status.name}"))
    bench.statuses["ConfigMap/one-db"] = {"name": "../../etc"}
    (row,) = bench.settle().rows.values()
    assert (row.condition.type, row.condition.reason) == ("Failed", "BadName")


def test_without_the_library_late_resources_are_unsupported_and_what_is_owned_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = a_bench(DB, WEB)
    bench.statuses["ConfigMap/one-db"] = {"port": 7}
    bench.settle()
    monkeypatch.setitem(sys.modules, "holdfast_protocol.blueprint.definition", None)
    monkeypatch.delattr("holdfast_protocol.blueprint.definition", raising=False)
    (verdict,) = compiled(bench.content.programs, {}).values()
    assert isinstance(verdict, Condition)
    assert (verdict.type, verdict.reason) == ("Unsupported", "NoExpressions")
    bench.verdicts = {"App/one": verdict}
    assert values(bench)["one-web"] == "7"
    assert bench.decision().kept["ConfigMap/one-web"] == verdict  # type: ignore[index]


def test_a_definition_this_version_does_not_take_is_said_and_decides_nothing() -> None:
    bench = a_bench(DB, WEB)
    spec = bench.content.programs[0].definition["spec"]
    spec["resources"][1]["template"]["data"]["x"] = "${nowhere.x}"
    (row,) = bench.settle().rows.values()
    assert (row.condition.type, row.condition.reason) == ("Failed", "BadProgram")


def test_the_library_is_imported_only_for_a_target_with_programs() -> None:
    names = ("cel_expr_python", "google.protobuf", "re2", "yaml", "holdfast_protocol.kinds.claims")
    script = (
        "import sys, holdfast_edge.agent, holdfast_edge.reconcile.loop, holdfast_edge.core.late\n"
        "from holdfast_edge.core.programs import compiled\n"
        "compiled((), {})\n"
        f"print([name for name in {names} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
