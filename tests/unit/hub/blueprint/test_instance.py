import pytest

from holdfast_hub.blueprint.instance import MAX_TEXT, check_instance
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.errors import Problem
from support.blueprints import a_definition, an_instance, problems_of

SCHEMA = """
name: string
replicas: integer | default=3 minimum=1
ratio: float | default=1
ports: "[]integer | uniqueItems=true maxItems=3"
code: string | pattern="^[A-Z]+$" immutable=true
even: integer | validation="self % 2 == 0"
nested: {a: string | required=true}
"""


@pytest.fixture(scope="module")
def definition() -> Definition:
    return a_definition("[]", SCHEMA)


def problems(definition: Definition, text: str, previous: dict[str, object] | None = None) -> tuple[Problem, ...]:
    (document,) = read_documents(text, "one.yaml")
    return problems_of(check_instance, definition, document, previous)


def test_defaults_are_filled_in_and_numbers_have_their_schemas_type(definition: Definition) -> None:
    values = an_instance(definition, "replicas: null\nports: [80, 81.0]\neven: 2.0").values
    assert values == {"replicas": 3, "ratio": 1.0, "ports": [80, 81], "even": 2}
    assert isinstance(values["ratio"], float)
    assert isinstance(values["ports"][1], int)


def test_every_problem_is_said_with_its_line_and_column(definition: Definition) -> None:
    text = """apiVersion: v1alpha1
kind: App
metadata: {name: one}
spec:
  replicas: 0
  replica: 5
  ports: [80, "81", 80, 82]
  code: abc
  nested: {}
"""
    found = {(each.line, each.column, each.path) for each in problems(definition, text)}
    assert found == {
        (5, 13, "spec.replicas"),
        (6, 3, "spec.replica"),
        (7, 10, "spec.ports"),
        (7, 15, "spec.ports[1]"),
        (7, 21, "spec.ports[2]"),
        (8, 9, "spec.code"),
        (9, 11, "spec.nested.a"),
    }


def test_a_rule_is_checked_once_the_value_fits_its_type(definition: Definition) -> None:
    text = "apiVersion: v1alpha1\nkind: App\nmetadata: {name: one}\nspec: {even: 3}\n"
    (problem,) = problems(definition, text)
    assert (problem.path, "self % 2 == 0" in problem.message) == ("spec.even", True)


@pytest.mark.parametrize(("previous", "count"), [(None, 0), ({}, 0), ({"code": "A"}, 0), ({"code": "B"}, 1)])
def test_an_immutable_field_may_be_set_and_not_changed(
    definition: Definition, previous: dict[str, object] | None, count: int
) -> None:
    text = "apiVersion: v1alpha1\nkind: App\nmetadata: {name: one}\nspec: {code: A}\n"
    assert len(problems(definition, text, previous)) == count


def test_an_instance_without_spec_is_refused_when_something_is_required() -> None:
    definition = a_definition("[]", "must: string | required=true")
    (problem,) = problems(definition, "apiVersion: v1alpha1\nkind: App\nmetadata: {name: one}\n")
    assert (problem.path, problem.message) == ("spec.must", "is required")


@pytest.mark.parametrize("version", ["v1alpha1", "holdfast.io/v1alpha1", "start-alpha.io/v1alpha1"])
def test_the_version_may_stand_alone_or_with_a_group_of_ours(definition: Definition, version: str) -> None:
    assert problems(definition, f"apiVersion: {version}\nkind: App\nspec: {{name: one}}\n") == ()


@pytest.mark.parametrize("name", ["One", "a_b", "../x", "a b", "-a", "a" * 64, '"a\\n"', '"a\\u0007"', "é"])
def test_hostile_names_are_refused(definition: Definition, name: str) -> None:
    (problem,) = problems(definition, f"apiVersion: v1alpha1\nkind: App\nspec: {{name: {name}}}\n")
    assert problem.path == "spec.name"


def test_metadata_wins_over_spec_for_the_name(definition: Definition) -> None:
    assert an_instance(definition, "name: Other Thing").name == "one"


@pytest.mark.parametrize(
    ("placement", "path"),
    [
        ("{}", "spec.placement"),
        ("{labelSelector: null}", "spec.placement"),
        ("[]", "spec.placement"),
        ("{labelSelectr: {}}", "spec.placement.labelSelectr"),
        (
            "{labelSelector: {matchExpressions: [{key: a b, operator: Exists}]}}",
            "spec.placement.labelSelector.matchExpressions[0].key",
        ),
        (
            "{fieldSelector: {matchExpressions: [{key: zone, operator: In, values: []}]}}",
            "spec.placement.fieldSelector.matchExpressions[0].values",
        ),
        (
            "{fieldSelector: {matchExpressions: [{key: zone, operator: Gt, values: ['1']}]}}",
            "spec.placement.fieldSelector.matchExpressions[0].operator",
        ),
    ],
)
def test_a_bad_placement_is_refused_at_its_place(definition: Definition, placement: str, path: str) -> None:
    found = problems(definition, f"apiVersion: v1alpha1\nkind: App\nspec: {{name: one, placement: {placement}}}\n")
    assert path in {each.path for each in found}


def test_an_unusual_field_of_a_site_is_only_warned_of(definition: Definition) -> None:
    (document,) = read_documents(
        "apiVersion: v1alpha1\nkind: App\nspec:\n  name: one\n  placement:\n    fieldSelector:\n"
        "      matchExpressions: [{key: zoen, operator: In, values: [a]}]\n"
    )
    checked = check_instance(definition, document)
    assert checked.value.placement is not None
    assert [each.line for each in checked.warnings] == [7]


def test_values_too_large_to_repeat_are_refused(definition: Definition) -> None:
    text = f"apiVersion: v1alpha1\nkind: App\nmetadata: {{name: one}}\nspec: {{name: {'x' * (MAX_TEXT + 1)}}}\n"
    (problem,) = problems(definition, text)
    assert problem.path == "spec.name"


@pytest.mark.parametrize("spec", ["3", "[]", "text"])
def test_a_spec_of_the_wrong_shape_is_refused(definition: Definition, spec: str) -> None:
    assert problems(definition, f"apiVersion: v1alpha1\nkind: App\nmetadata: {{name: one}}\nspec: {spec}\n")
    assert problems(definition, f"apiVersion: v1alpha1\nkind: App\nmetadata: {spec}\nspec: {{name: one}}\n")
