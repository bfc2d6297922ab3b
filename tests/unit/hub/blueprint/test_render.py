import pytest

from holdfast_hub.blueprint.render import render
from support.blueprints import a_definition, an_instance, problems_of, rendered

SCHEMA = """
name: string | default=app
count: integer | default=2
ratio: float | default=4
opt: string
labels: map[string]string
text: string
"""


def config(value: str, name: str = "a", resource_id: str = "config") -> str:
    return f"""
- id: {resource_id}
  template:
    apiVersion: v1
    kind: Settings
    metadata: {{name: "{name}"}}
    data: {{x: {value}}}
"""


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ('"${schema.spec.count}"', 2),
        ('"${schema.spec.ratio}"', 4),
        ('"${schema.spec.ratio / 8.0}"', 0.5),
        ('"${schema.spec.name}-${string(schema.spec.count)}"', "app-2"),
        ('"${schema.spec.?opt}"', None),
        ('"${schema.spec.?opt.orValue(schema.metadata.name)}"', "one"),
        ('"${schema.spec.labels}"', {"b": "1", "a": "2"}),
        ('"$${HOME} ${schema.spec.name}"', "${HOME} app"),
        ('"$${HOME}"', "${HOME}"),
        ("[1, {deep: '${schema.spec.name}'}]", [1, {"deep": "app"}]),
        ('"${[1, ?schema.spec.?opt]}"', [1]),
        ('"${schema.kind + schema.apiVersion}"', "Appv1alpha1"),
    ],
)
def test_a_value_keeps_its_type_and_a_template_is_text(value: str, result: object) -> None:
    (resource,) = rendered(config(value), "labels: {b: '1', a: '2'}", SCHEMA)
    assert resource.body["data"]["x"] == result


def test_a_resource_reads_another_as_it_will_be() -> None:
    first, second = rendered(
        config('"${other.data.x + other.metadata.name}"', "b") + config('"${schema.spec.name}"', "c", "other"),
        "",
        SCHEMA,
    )
    assert (first.id, second.id, second.depends_on) == ("other", "config", ("other",))
    assert second.body["data"]["x"] == "appc"


def test_a_value_that_is_not_given_is_asked_for_in_the_instance() -> None:
    definition = a_definition(config('"${schema.spec.opt}"'), SCHEMA)
    (problem,) = problems_of(render, definition, an_instance(definition))
    assert (problem.file, problem.path) == ("one.yaml", "spec")
    assert "opt" in problem.message
    assert "resource config needs it at data.x" in problem.message


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("${schema.spec.text}", "is no name"),
        ("x.${schema.spec.text}", "is no name"),
    ],
)
@pytest.mark.parametrize("text", ["../../etc", "A", '"a\\nb"', "a/b", "'; rm -rf /'", '"-"'])
def test_names_made_from_hostile_values_are_refused(name: str, part: str, text: str) -> None:
    definition = a_definition(config("1", name), SCHEMA)
    problems = problems_of(render, definition, an_instance(definition, f"text: {text}"))
    assert any(part in each.message for each in problems)


UNIT = """
- id: unit
  template:
    apiVersion: holdfast.io/v1alpha1
    kind: SystemdService
    metadata: {name: unit}
    spec:
      unit: |
        [Service]
        ExecStart=/usr/bin/x ${schema.spec.text}
        Environment=HOME=$${HOME}
"""


@pytest.mark.parametrize("text", ['"a\\nExecStartPre=/bin/evil"', '"a\\\\"', '"a\\u0085b"', '"a\\rb"'])
def test_a_value_cannot_add_lines_to_a_unit(text: str) -> None:
    definition = a_definition(UNIT, SCHEMA)
    (problem,) = problems_of(render, definition, an_instance(definition, f"text: {text}"))
    assert "would add lines to the unit" in problem.message


def test_a_unit_takes_a_value_and_a_literal_dollar_brace() -> None:
    (unit,) = rendered(UNIT, "text: --fast", SCHEMA)
    assert unit.body["spec"]["unit"] == "[Service]\nExecStart=/usr/bin/x --fast\nEnvironment=HOME=${HOME}\n"


def test_two_resources_of_one_name_are_refused_with_both_ids() -> None:
    definition = a_definition(config("1") + config("2", "a", "other"))
    (problem,) = problems_of(render, definition, an_instance(definition))
    assert "Settings/a is also what config makes" in problem.message
    assert "other" in problem.message


def test_a_namespace_of_the_instance_is_inherited_where_kinds_have_one() -> None:
    definition = a_definition(config("1") + config("1", "b", "other").replace("Settings", "Namespace"))
    namespaced, cluster = render(definition, an_instance(definition, namespace="plant"))
    assert namespaced.body["metadata"] == {"name": "a", "namespace": "plant"}
    assert cluster.body["metadata"] == {"name": "b"}


def test_bodies_are_fresh_every_time() -> None:
    definition = a_definition(config('"${schema.spec.labels}"'), SCHEMA)
    instance = an_instance(definition, "labels: {a: '1'}")
    render(definition, instance)[0].body["data"]["x"]["a"] = "changed"
    assert render(definition, instance)[0].body["data"]["x"] == {"a": "1"}
