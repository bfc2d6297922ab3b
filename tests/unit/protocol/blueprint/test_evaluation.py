"""The graph with what is observed: what is made now, what waits, what is ready, and the status."""

from collections.abc import Sequence
from typing import Any

import pytest

from holdfast_hub.blueprint.eject import eject
from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint import evaluation
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.blueprint.evaluation import Body, Evaluation, evaluate
from holdfast_protocol.blueprint.node import Node
from support.blueprints import a_definition, an_instance, blueprint_text, problems_of, rendered

SCHEMA = "{name: string, on: boolean | default=true, zones: '[]string', n: integer | default=2, opt: string}"
SPEC = "{name: app, zones: [w, e]}"


def config(id: str, name: str = "", value: str = "x", **rest: str) -> str:  # noqa: A002
    lines = "".join(f"  {key}: {text}\n" for key, text in rest.items())
    template = f'{{apiVersion: v1, kind: ConfigMap, metadata: {{name: "{name or id}"}}, data: {{x: "{value}"}}}}'
    return f"- id: {id}\n{lines}  template: {template}\n"


def with_status(resources: str, status: str) -> Definition:
    text = blueprint_text(resources, SCHEMA).replace("  resources:", f"    status: {status}\n  resources:")
    (document,) = read_documents(text)
    return check_blueprint(document).value


def evaluated(definition: Definition, seen: dict[str, Any] | None = None, spec: str = SPEC) -> Evaluation:
    """Everything is seen as desired, with `seen` on top; a list stands instead, None for nothing there."""

    def observe(node: Node, bodies: Sequence[Body]) -> Sequence[Body]:
        said = (seen or {}).get(node.id, {})
        if said is None:
            return []
        return said if isinstance(said, list) else [{**each, **said} for each in bodies]

    return evaluate(definition, an_instance(definition, spec).as_schema(), observe)


def states(definition: Definition, seen: dict[str, Any] | None = None) -> dict[str, str]:
    return {each.id: each.state for each in evaluated(definition, seen).outcomes}


def test_what_is_left_out_takes_along_what_needs_it() -> None:
    text = config("a", includeWhen="['${schema.spec.on}', '${!schema.spec.on}']") + config("b", value="${a.data.x}")
    definition = a_definition(text + config("c", value="${b.data.x}") + config("d"), SCHEMA)
    assert states(definition) == {"a": "skipped", "b": "skipped", "c": "skipped", "d": "ready"}
    assert [each.id for each in render(definition, an_instance(definition, SPEC))] == ["d"]


def test_whether_something_is_in_may_hang_on_what_a_site_sees() -> None:
    definition = a_definition(config("a") + config("b", includeWhen="['${a.status.ok == true}']"), SCHEMA)
    assert states(definition) == {"a": "ready", "b": "pending"}
    assert states(definition, {"a": {"status": {"ok": False}}})["b"] == "skipped"
    assert states(definition, {"a": {"status": {"ok": True}}})["b"] == "ready"
    assert states(definition, {"a": None}) == {"a": "not_ready", "b": "pending"}


def test_dependants_wait_until_what_they_need_is_ready() -> None:
    text = config("a", readyWhen="['${a.status.ok == true}']") + config("b", value="${a.metadata.name}")
    definition = a_definition(text, SCHEMA)
    assert states(definition) == {"a": "not_ready", "b": "pending"}
    assert states(definition, {"a": {"status": {"ok": True}}}) == {"a": "ready", "b": "ready"}
    assert states(definition, {"a": {"status": {"ok": False}}}) == {"a": "not_ready", "b": "pending"}
    assert states(definition, {"a": None}) == {"a": "not_ready", "b": "pending"}
    broken = a_definition(config("a", readyWhen="['${1 / a.status.n > 0}']") + config("b", value="${a.data.x}"), SCHEMA)
    assert states(broken, {"a": {"status": {"n": 0}}}) == {"a": "error", "b": "error"}


def test_one_that_waits_holds_up_only_those_that_need_it() -> None:
    text = config("a") + config("b", value="${a.status.ip}") + config("c", value="${b.data.x}") + config("d")
    found = evaluated(a_definition(text, SCHEMA))
    assert {each.id: each.state for each in found.outcomes} == {
        "a": "ready",
        "b": "pending",
        "c": "pending",
        "d": "ready",
    }
    (failure,) = found.outcomes[1].failures
    assert (failure.path, failure.absent) == (("template", "data", "x"), True)


def test_a_collection_is_the_product_of_its_loops_the_last_fastest() -> None:
    loops = "[{z: '${schema.spec.zones}'}, {n: '${lists.range(schema.spec.n)}'}]"
    text = config("a", "a-${z}-${string(n)}", forEach=loops) + config(
        "b", value="${string(size(a)) + a[3].metadata.name}"
    )
    definition = a_definition(text, SCHEMA)
    resources = render(definition, an_instance(definition, SPEC))
    assert [each.body["metadata"]["name"] for each in resources] == ["a-w-0", "a-w-1", "a-e-0", "a-e-1", "b"]
    assert [each.body["metadata"].get("labels") for each in resources[:2]] == [
        {"kro.run/collection-index": "0"},
        {"kro.run/collection-index": "1"},
    ]
    assert resources[4].body["data"]["x"] == "4a-e-1"
    assert [each.label for each in resources] == ["a-0", "a-1", "a-2", "a-3", "b"]
    assert {"one/a-0.yaml", "one/a-3.yaml", "one/b.yaml"} <= eject(
        definition, an_instance(definition, SPEC)
    ).files.keys()
    resources[0].body["data"]["x"] = "changed"
    assert resources[1].body["data"]["x"] == "x"


def test_a_collection_waits_for_every_item_and_judges_each() -> None:
    text = config("a", "a-${z}", forEach="[{z: '${schema.spec.zones}'}]", readyWhen="['${each.data.x == \"x\"}']")
    definition = a_definition(text + config("b", value="${string(size(a))}"), SCHEMA)
    assert states(definition) == {"a": "ready", "b": "ready"}
    bodies = evaluated(definition).outcomes[0].desired or ()
    assert states(definition, {"a": [bodies[1]]}) == {"a": "not_ready", "b": "pending"}
    assert states(definition, {"a": [{**bodies[1], "data": {"x": "y"}}, bodies[0]]})["a"] == "not_ready"
    assert states(definition, {"a": [bodies[1], bodies[0]]}) == {"a": "ready", "b": "ready"}


@pytest.mark.parametrize(
    ("loops", "name", "message"),
    [
        ('[{z: \'${["x", "x"]}\'}]', "a-${z}", "both called 'a-x'"),
        (
            "[{x: '${lists.range(50)}'}, {y: '${lists.range(21)}'}]",
            "a-${string(x)}-${string(y)}",
            "a collection of 1050",
        ),
        ("[{z: '${schema.spec.zones}'}]", "a-${z}", "no such field"),
    ],
)
def test_a_collection_nobody_can_make_is_said_at_its_place(loops: str, name: str, message: str) -> None:
    definition = a_definition(config("a", name, forEach=loops), SCHEMA)
    problems = problems_of(render, definition, an_instance(definition, "{name: app}"))
    assert [message in each.message for each in problems] == [True]


def test_an_empty_loop_makes_an_empty_collection() -> None:
    definition = a_definition(
        config("a", "a-${z}", forEach="[{z: '${schema.spec.zones}'}]") + config("b", value="${string(size(a))}"), SCHEMA
    )
    (only,) = render(definition, an_instance(definition, "{name: app, zones: []}"))
    assert (only.id, only.body["data"]["x"]) == ("b", "0")


def test_all_collections_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_TOTAL", 1000)
    definition = a_definition(config("a", "a-${string(n)}", forEach="[{n: '${lists.range(100)}'}]"), SCHEMA)
    problems = problems_of(render, definition, an_instance(definition, SPEC))
    assert ["larger than 1000 bytes" in each.message for each in problems] == [True]


def test_bodies_that_grow_by_naming_each_other_are_stopped() -> None:
    values = ", ".join(f'k{n}: "${{a{{}}}}"' for n in range(20))
    body = "{apiVersion: v1, kind: Settings, metadata: {name: aN}, data: {VALUES}}"
    first = (
        '- id: a0\n  template: {apiVersion: v1, kind: Settings, metadata: {name: a0}, data: {x: "'
        + "y" * 2000
        + '"}}\n'
    )
    rest = [
        f"- id: a{n}\n  template: {body.replace('aN', f'a{n}').replace('VALUES', values.replace('{}', str(n - 1)))}\n"
        for n in range(1, 6)
    ]
    definition = a_definition(first + "".join(rest), SCHEMA)
    problems = problems_of(render, definition, an_instance(definition, SPEC))
    assert ["larger than" in each.message for each in problems] == [True]


def test_a_reference_is_read_and_never_made() -> None:
    selector = "{matchLabels: {a: '${schema.spec.name}'}}"
    text = f"- id: ext\n  externalRef: {{apiVersion: v1, kind: ConfigMap, metadata: {{selector: {selector}}}}}\n"
    definition = a_definition(text + config("b", value="${ext.map(e, e.metadata.name).join(',')}"), SCHEMA)
    found = evaluated(definition, {"ext": [{"metadata": {"name": "p"}}, {"metadata": {"name": "q"}}]})
    assert (found.outcomes[1].desired or ())[0]["data"]["x"] == "p,q"
    assert states(definition, {"ext": []}) == {"ext": "ready", "b": "ready"}
    assert render(definition, an_instance(definition, SPEC)) == []
    assert list(definition.late) == ["ext", "b"]


def test_what_a_site_decides_is_left_out_of_rendering_with_all_that_comes_after_it() -> None:
    text = config("a") + config("b", value="${string(a.status.n)}") + config("c", value="${b.data.x}") + config("d")
    definition = a_definition(text, SCHEMA)
    assert list(definition.late) == ["b", "c"]
    assert [each.id for each in render(definition, an_instance(definition, SPEC))] == ["a", "d"]


def test_what_the_schema_alone_decides_is_decided_at_the_hub_also_of_what_a_site_decides() -> None:
    value = "'${string(a.status.n)}'"
    text = config("a") + config("b", value=value[1:-1], includeWhen="['${!schema.spec.on}', '${a.status.n > 1}']")
    definition = a_definition(text + config("c", value="${b.data.x}"), SCHEMA)
    off = evaluation.desired(definition, an_instance(definition, SPEC).as_schema(), definition.late)
    assert {each.id: each.state for each in off} == {"a": "ready", "b": "skipped", "c": "skipped"}
    on = an_instance(definition, SPEC.replace("name: app", "name: app, on: false")).as_schema()
    states = {each.id: each.state for each in evaluation.desired(definition, on, definition.late)}
    assert states == {"a": "ready", "b": "pending", "c": "pending"}
    guessed = config("b", includeWhen="['${a.?status.?n.orValue(0) > 1}']")
    definition = a_definition(config("a") + guessed, SCHEMA)
    late = evaluation.desired(definition, an_instance(definition, SPEC).as_schema(), definition.late)
    assert late[1].state == "pending", "what a default says at the hub is no decision"


def test_a_value_that_is_missing_for_a_late_resource_is_found_at_the_hub() -> None:
    text = config("a") + config("b", value="${string(a.status.n) + schema.spec.opt}", name="${schema.spec.opt}")
    definition = a_definition(text, SCHEMA)
    (problem,) = problems_of(render, definition, an_instance(definition, SPEC))
    assert "needs it at metadata.name" in problem.message


def test_omit_takes_away_what_it_stands_at() -> None:
    body = "{x: '${schema.spec.on ? omit() : 1}', l: ['${omit()}', b], in: {y: '${[1, omit()]}'}, z: 'a${omit()}'}"
    text = f"- id: a\n  template: {{apiVersion: v1, kind: Thing, metadata: {{name: a}}, spec: {body}}}\n"
    problems = problems_of(rendered, text, SPEC, SCHEMA)
    assert ["is left out, and a text takes only text" in each.message for each in problems] == [True]
    (only,) = rendered(text.replace(", z: 'a${omit()}'", ""), SPEC, SCHEMA)
    assert only.body["spec"] == {"l": ["b"], "in": {"y": [1]}}


def test_status_says_what_there_is_data_for() -> None:
    name = "{name: '${a.metadata.name}-${schema.spec.name}'}"
    status = f"{{ip: '${{a.status.ip}}', at: {name}, l: ['${{a.status.x}}', '${{schema.spec.n}}']}}"
    definition = with_status(config("a"), status)
    assert evaluated(definition).status == {"at": {"name": "a-app"}, "l": [None, 2]}
    assert evaluated(definition, {"a": {"status": {"ip": "10.0.0.1"}}}).status == {
        "ip": "10.0.0.1",
        "at": {"name": "a-app"},
        "l": [None, 2],
    }
    broken = evaluated(with_status(config("a"), "{x: '${schema.spec.n / 0}', y: '${a.metadata.name}'}"))
    assert broken.status is None
    assert [each.path for each in broken.failures] == [("x",)]


def test_conditions_are_made_from_what_is_there() -> None:
    status = """{conditions: [
      "${runtime.newCondition({type: 'Up', status: a.status.ok ? 'True' : 'False', reason: 'R'})}",
      "${[1, 2].map(n, runtime.newCondition({type: 'N' + string(n), status: 'Unknown'}))}",
      "${['x', 'x'].map(n, runtime.newCondition({type: n, status: 'True'}))}",
      "${runtime.newCondition({type: 'Copy', status: runtime.condition(a, 'Ready').status})}"]}"""
    definition = with_status(config("a"), status)
    ready = {"status": {"ok": True, "conditions": [{"type": "Ready", "status": "True"}]}}
    found = evaluated(definition, {"a": ready})
    assert [(each["type"], each["status"]) for each in found.conditions] == [
        ("Up", "True"),
        ("N1", "Unknown"),
        ("N2", "Unknown"),
        ("Copy", "True"),
    ]
    assert [each.message for each in found.failures] == ["more than one condition of type x"]
    without = evaluated(definition)
    assert [each["type"] for each in without.conditions] == ["N1", "N2"], "no data: not said; no status: an error"
    assert "status must be one of" in without.failures[0].message
