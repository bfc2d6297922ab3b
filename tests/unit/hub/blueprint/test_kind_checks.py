"""What a site would refuse is refused when it is rendered, at the place a person wrote it, all of it at once."""

import pytest

from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from support.blueprints import a_definition, an_instance, blueprint_text, problems_of

SCHEMA = """
mode: string | default="0644"
folder: string | default="/srv"
replicas: integer | default=1
labels: "map[string]string"
"""


def file(**fields: str) -> str:
    lines = "".join(f"\n      {key}: {value}" for key, value in {"path": "/srv/a", "content": "x", **fields}.items())
    return f"- id: motd\n  template:\n    apiVersion: v1\n    kind: File\n    metadata: {{name: a}}\n    spec:{lines}\n"


def test_a_value_of_the_instance_is_refused_where_the_instance_says_it() -> None:
    definition = a_definition(file(mode="${schema.spec.mode}"), SCHEMA)
    (problem,) = problems_of(render, definition, an_instance(definition, 'mode: "7777"'))
    assert (problem.file, problem.line, problem.column, problem.path) == ("one.yaml", 6, 9, "spec.mode")
    assert "set-user-id" in problem.message
    assert "(resource motd of App/one)" in problem.message


def test_a_default_or_a_text_made_of_several_is_refused_in_the_blueprint() -> None:
    for fields, spec in (
        ({"mode": "${schema.spec.mode}"}, ""),
        ({"path": "${schema.spec.folder}/a"}, "folder: srv"),
    ):
        definition = a_definition(file(**fields), SCHEMA.replace("0644", "7777"))
        problems = problems_of(render, definition, an_instance(definition, spec))
        assert problems
        for problem in problems:
            assert (problem.file, problem.path.split(".")[-1]) == ("app.yaml", next(iter(fields)))


def test_everything_wrong_with_all_resources_is_said_at_once() -> None:
    text = file(mod="1", owner="a b") + file(path="relative").replace("id: motd", "id: other").replace(
        "name: a", "name: b"
    )
    definition = a_definition(text, SCHEMA)
    problems = problems_of(render, definition, an_instance(definition))
    assert [each.path for each in problems] == [
        "spec.resources[0].template.spec.mod",
        "spec.resources[1].template.spec.path",
    ]
    assert problems[0].hint == "did you mean mode?"
    lines = blueprint_text(text, SCHEMA).split("\n")
    assert [lines[each.line - 1].strip().split(":")[0] for each in problems] == ["mod", "path"]


def test_a_line_of_a_unit_is_refused_at_its_line() -> None:
    unit = "- id: a\n  template:\n    apiVersion: v1\n    kind: SystemdService\n    metadata: {name: a}\n    spec:\n"
    unit += "      unit: |\n"
    unit += "        [Unit]\n        Description=${schema.spec.folder}\n        [Servce]\n        ExecStart=/a\n"
    definition = a_definition(unit, SCHEMA)
    (problem,) = problems_of(render, definition, an_instance(definition, "folder: a longer text than was there"))
    assert blueprint_text(unit, SCHEMA).split("\n")[problem.line - 1].strip() == "[Servce]"


def test_each_item_of_a_collection_is_judged() -> None:
    text = file(path="${each_path}").replace("name: a", "name: '${each_path.lowerAscii()}'")
    text = text.replace("  template:", "  forEach: [{each_path: \"${['a', 'b']}\"}]\n  template:").replace(
        "each_path", "way"
    )
    definition = a_definition(text, SCHEMA)
    assert ["is not absolute" in each.message for each in problems_of(render, definition, an_instance(definition))] == [
        True
    ] * 2


def test_a_map_of_the_instance_is_refused_inside_it() -> None:
    deployment = (
        "- id: web\n  template:\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec:\n"
        "      replicas: ${schema.spec.replicas}\n      template:\n        metadata: {labels: '${schema.spec.labels}'}\n"
        "        spec: {containers: [{name: a, image: a}]}\n"
    )
    definition = a_definition(deployment, SCHEMA)
    problems = problems_of(render, definition, an_instance(definition, "replicas: 1000\nlabels: {a: b}"))
    assert [(each.file, each.path) for each in problems if "replicas" in each.message] == [
        ("one.yaml", "spec.replicas")
    ]


@pytest.mark.parametrize(("kind", "near"), [("SystemdServce", "SystemdService"), ("PubSubTopic", "")])
def test_a_kind_nobody_knows_is_kept_and_warned_of(kind: str, near: str) -> None:
    (document,) = read_documents(blueprint_text(file().replace("kind: File", f"kind: {kind}"), SCHEMA), "app.yaml")
    checked = check_blueprint(document)
    (warning,) = checked.warnings
    assert warning.path == "spec.resources[0].template.kind"
    assert near in warning.hint
    (resource,) = render(checked.value, an_instance(checked.value))
    assert resource.body["kind"] == kind
