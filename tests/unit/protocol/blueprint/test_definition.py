from pathlib import Path

import pytest

from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.errors import Problem
from support.blueprints import a_definition, blueprint_text, problems_of

CONFIG = """
- id: config
  template:
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "${schema.spec.name}"}
    data: {x: VALUE}
"""


def problems(text: str) -> tuple[Problem, ...]:
    (document,) = read_documents(text, "app.yaml")
    return problems_of(check_blueprint, document)


def with_value(value: str) -> str:
    return blueprint_text(CONFIG.replace("VALUE", value))


@pytest.mark.parametrize(
    ("value", "part", "inside"),  # inside: characters from the value's quote to the mistake
    [
        ('"${schema.spec.nmae}"', "unknown field 'nmae'", 14),
        ('"${nope.x}"', "unknown name 'nope'", 3),
        ('"${config.data.x}"', "refers to itself", None),
        ('"a-${1}"', "is int, and data.x takes text", 5),
        ('"${a + ${b}}"', "inside an expression", 7),
        ('"${config2.status.x}"', "unknown name 'config2'", 3),
    ],
)
def test_a_bad_expression_is_found_with_file_line_and_path(value: str, part: str, inside: int | None) -> None:
    text = with_value(value)
    (problem,) = problems(text)
    assert part in problem.message
    assert problem.file == "app.yaml"
    assert problem.path.startswith("spec.resources[0].template")
    if inside is not None:
        assert problem.column == text.splitlines()[problem.line - 1].index(value) + 1 + inside


def test_a_mistake_in_a_block_of_text_is_placed_on_its_own_line() -> None:
    value = "|\n        first\n        second ${schema.spec.nope}"
    text = blueprint_text(CONFIG.replace("{x: VALUE}", f"\n      x: {value}"))
    (problem,) = problems(text)
    assert text.splitlines()[problem.line - 1].strip() == "second ${schema.spec.nope}"


def test_every_problem_of_a_blueprint_is_said_at_once() -> None:
    text = """
apiVersion: example.com/v9
kind: Blueprint
metadata: {name: Not A Name}
extra: 1
spec:
  schema:
    apiVersion: 1.0
    kind: app
    spec: {name: strnig, placement: string}
  resources:
    - id: schema
      template: {}
    - id: ok
      tmplate: {}
    - id: ok
    - id: later
      forEach: [{z: "${schema.spec.l}"}]
      readyWhen: ["${later.status.ok}"]
      template: {apiVersion: v1, kind: "${schema.kind}", metadata: {}}
"""
    paths = {each.path for each in problems(text)}
    assert paths == {
        "apiVersion",
        "metadata.name",
        "extra",
        "spec.schema.kind",
        "spec.schema.apiVersion",
        "spec.schema.spec.name",
        "spec.schema.spec.placement",
        "spec.resources[0].id",
        "spec.resources[1].tmplate",
        "spec.resources[1]",
        "spec.resources[2].id",
        "spec.resources[3].forEach[0].z",
        "spec.resources[3].readyWhen[0]",
        "spec.resources[3].template.kind",
        "spec.resources[3].template.metadata.name",
    }


def test_a_circle_of_resources_is_refused_with_the_circle() -> None:
    texts = [
        CONFIG.replace("config", each).replace("${schema.spec.name}", each).replace("VALUE", f'"${{{needs}.data.x}}"')
        for each, needs in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    (problem,) = problems(blueprint_text("".join(texts)))
    assert "a -> b -> c -> a" in problem.message


def test_resources_are_ordered_by_what_they_need() -> None:
    def entry(each: str, needs: str) -> str:
        return CONFIG.replace("config", each).replace("${schema.spec.name}", each).replace("VALUE", needs)

    definition = a_definition(
        entry("a2", '"${a1.metadata.name}"')
        + entry("b2", '"${b1.metadata.name}"')
        + entry("b1", "x")
        + entry("a1", "x")
    )
    assert definition.resources == ("b1", "b2", "a1", "a2")
    assert definition.waves == {"a1": 1, "a2": 2, "b1": 1, "b2": 2}


def test_an_image_written_in_the_blueprint_is_warned_of_there() -> None:
    text = blueprint_text(
        """
- id: web
  template:
    apiVersion: v1
    kind: Pod
    metadata: {name: web}
    spec:
      containers: [{name: a, image: "Registry.example/Team/app:1"}, {name: b, image: "registry.example:5000/app@sha256:BAD"}]
"""
    )
    (document,) = read_documents(text)
    warnings = check_blueprint(document).warnings
    assert [each.path[-20:] for each in warnings] == [".containers[0].image", ".containers[1].image"]


def test_old_booleans_of_the_file_reach_the_author_as_warnings() -> None:
    (document,) = read_documents(with_value("yes"))
    assert [each.message for each in check_blueprint(document).warnings] == ["yes is text here, not a boolean"]


def test_the_example_of_the_documentation_works() -> None:
    text = (Path(__file__).parents[4] / "docs" / "blueprints.md").read_text()
    blueprint, document = read_documents(text.split("```yaml\n")[1].split("```")[0])
    checked = check_blueprint(blueprint)
    instance = check_instance(checked.value, document)
    assert (checked.warnings, instance.warnings) == ((), ())
    assert [each.id for each in render(checked.value, instance.value)] == ["deployment"]


def test_an_alias_of_our_version_is_accepted() -> None:
    assert problems(with_value("a").replace("holdfast.io", "start-alpha.io")) == ()


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "metadata: 3\nspec: []\n",
        "metadata: {name: a}\nspec: {schema: [], resources: {}}\n",
        "metadata: {name: a}\nspec: {schema: {types: [], spec: 1}, resources: [1, {id: []}]}\n",
        "metadata: {name: a}\nspec: {schema: {kind: [], apiVersion: {}, group: 1, scope: []}, resources: [{id: a}]}\n",
    ],
)
def test_a_blueprint_of_the_wrong_shape_is_refused_not_tripped_over(rest: str) -> None:
    assert problems(f"apiVersion: holdfast.io/v1alpha1\nkind: Blueprint\n{rest}")
