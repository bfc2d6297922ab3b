import pytest

from holdfast_protocol.blueprint.schema import open_api
from holdfast_protocol.blueprint.schema_checks import check_schema
from support.conformance.cases import problems


def errors(spec: object, types: object = None) -> list[str]:
    found = problems()
    schema = open_api(spec, types, found, ("schema",))
    if not found.errors:
        check_schema(schema, found, ("schema", "spec"))
    return [f"{each.path}: {each.message}" for each in found.errors]


def test_every_problem_of_a_schema_is_found_with_its_path() -> None:
    spec = {"a": "text", "b": {"c": "string | minLength=x pattern=(?=a)"}, "d": 3, "e": "[]"}
    assert [each.split(":")[0] for each in errors(spec)] == [
        "schema.spec.a",
        "schema.spec.b.c",
        "schema.spec.b.c",
        "schema.spec.d",
        "schema.spec.e",
    ]


@pytest.mark.parametrize(
    "field",
    [
        "integer | default=007",
        "float | default=.5",
        "boolean | default=True",
        "[]string | default=[a]",
        'string | default="a\\"b"',
    ],
)
def test_defaults_that_are_no_json_are_refused_at_definition(field: str) -> None:
    assert errors({"f": field})


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({"n": "integer | default=1 minimum=5"}, None),
        ({"b": "boolean | default=1"}, None),
        ({"m": 'map[string]string | default={"a":1}'}, None),
        ({"p": 'P | default={"zz":1}'}, {"P": {"a": "string"}}),
        ({"l": "[]P | listType=map"}, {"P": {"a": "string | required=true"}}),
        ({"l": "[]P | listType=map listMapKey=a"}, {"P": {"a": "string"}}),
        ({"l": "[]P | listType=set"}, {"P": {"a": "string"}}),
    ],
)
def test_what_kubernetes_would_refuse_later_is_refused_now(spec: object, types: object) -> None:
    assert len(errors(spec, types)) == 1


def test_types_that_refer_to_each_other_in_a_circle_are_refused_with_the_circle() -> None:
    (error,) = errors({"a": "string"}, {"A": {"b": "[]B"}, "B": {"c": "map[string]A"}})
    assert "A -> B -> A" in error


def test_types_that_double_at_every_step_are_refused_before_they_are_written_out() -> None:
    types = {f"T{index}": {"a": f"T{index + 1}", "b": f"T{index + 1}"} for index in range(30)} | {"T30": "string"}
    (error,) = errors({"x": "T0"}, types)
    assert "more than" in error
