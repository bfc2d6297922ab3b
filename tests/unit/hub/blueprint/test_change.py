import pytest

from holdfast_hub.blueprint.change import definition_changes, schema_changes
from holdfast_protocol.blueprint.schema import Schema, open_api
from support.blueprints import a_definition
from support.conformance.cases import problems


def schema(**fields: object) -> Schema:
    found = problems()
    made = open_api(fields, {"T": {"x": "string"}}, found, ())
    assert not found.errors
    return made


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("string", 'string | enum="a,b"', "ENUM_ADDED"),
        ("map[string]string", "map[string]integer", "TYPE_CHANGED"),
        ("object", "map[string]string", "OBJECT_CLOSED"),
        ("object", {"a": "string"}, "OBJECT_CLOSED"),
        ("map[string]string", {"a": "string"}, "OBJECT_CLOSED"),
        ("string", "string | immutable=true", "RULE_ADDED"),
        ('string | validation="true"', "string | validation=\"self != ''\"", "RULE_ADDED"),
        ("[]string", "[]string | uniqueItems=true", "LIST_TYPE_CHANGED"),
        ("[]T | listType=map listMapKey=x", "[]T | listType=map listMapKey=y", "LIST_TYPE_CHANGED"),
    ],
)
def test_what_kro_does_not_see_breaks_too(old: object, new: object, change: str) -> None:
    found = schema_changes(schema(a=old), schema(a=new))
    assert [each.change for each in found if each.breaking] == [change]
    assert schema_changes(schema(a=old), schema(a=old)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('string | enum="a"', "string"),
        ("map[string]string", "object"),
        ("string | immutable=true", "string"),
        ("[]string | uniqueItems=true", "[]string"),
        ("map[string]T", "map[string]T"),
        ("string", "string | description=x"),
    ],
)
def test_what_only_allows_more_breaks_nothing(old: str, new: str) -> None:
    assert not [each for each in schema_changes(schema(a=old), schema(a=new)) if each.breaking]


def test_changes_are_said_in_words_with_the_field_they_stand_at() -> None:
    (change,) = schema_changes(schema(a={"b": "integer | maximum=5"}), schema(a={"b": "integer | maximum=3"}))
    assert (change.field, change.path) == (("a", "b"), ".properties.a.properties.b.maximum")
    assert str(change) == "maximum was 5 and is 3"


def test_the_identity_of_a_definition_is_part_of_its_promise() -> None:
    old = a_definition("[]")
    new = a_definition("[]", "{name: string, more: string}")
    assert [(each.change, each.field, each.breaking) for each in definition_changes(old, new)] == [
        ("PROPERTY_ADDED", ("spec", "more"), False)
    ]
