from pathlib import Path

import pytest

import holdfast_protocol
from holdfast_protocol.blueprint.cel import MAX_SOURCE, Environment, ExpressionError

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "fooBar": {"type": "object", "additionalProperties": {"type": "string"}},
        "foo_bar": {"type": "object", "additionalProperties": {"type": "string"}},
        "not-an-identifier": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.fixture(scope="module")
def environment() -> Environment:
    return Environment({"schema": SCHEMA}, ["other"])


def value(environment: Environment, source: str, **schema: object) -> object:
    return environment.compile(source).evaluate(environment.bind({"schema": schema, "other": {"a": {"b": 1}}}))


def test_only_one_module_imports_the_expression_library() -> None:
    package = Path(holdfast_protocol.__file__).parent
    users = [path.name for path in package.rglob("*.py") if "cel_expr_python" in path.read_text()]
    assert users == ["cel.py"]


@pytest.mark.parametrize(
    ("source", "offset", "part"),
    [
        ("schema.nmae", 6, "unknown field 'nmae'"),
        ("schema.name +\n schema.count", 12, "no matching overload"),
        ("nope + 1", 0, "unknown name 'nope'"),
        ("math.greatest(1, 2)", 0, "unknown name 'math'"),
        ("schema.", 7, "Syntax error"),
        ("schema.name == null", 12, "no matching overload"),
        ("1 == 1.0", 2, "no matching overload"),
        (" ", -1, "empty"),
    ],
)
def test_a_mistake_is_found_before_anything_runs_and_where(
    environment: Environment, source: str, offset: int, part: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        environment.compile(source)
    assert part in caught.value.message
    assert offset < 0 or abs(caught.value.offset - offset) <= 1


def test_absent_data_is_told_from_wrong_data(environment: Environment) -> None:
    for source, absent in (("schema.name", True), ("other.a.c", True), ("[1][2]", True), ("1 / 0", False)):
        with pytest.raises(ExpressionError) as caught:
            value(environment, source)
        assert caught.value.absent is absent, source


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("schema.?name.orValue('x')", "x"),
        ("schema.?name", None),
        ("{'b': 1, 'a': [1.0, 2.5, 3u]}", {"a": [1, 2.5, 3], "b": 1}),
        ("duration('90m') // with a comment", "1h30m0s"),
        ("[other.?a, ?other.?z].size()", None),
        ("timestamp('2024-01-02T03:04:05.5Z')", "2024-01-02T03:04:05.5Z"),
        ("{'k': 'v'}.merge({'k': 'w'})", {"k": "w"}),
        ("json.marshal({'b': [1, null], 'a': '<'})", '{"a":"\\u003c","b":[1,null]}'),
    ],
)
def test_results_are_values_of_json(environment: Environment, source: str, result: object) -> None:
    if result is None and "size" in source:
        with pytest.raises(ExpressionError):
            environment.compile("[?other.?a, ?1]")
        return
    assert value(environment, source) == result


@pytest.mark.parametrize(
    "source",
    [
        "b'x'",
        "{1: 'a'}",
        "type(1)",
        "[optional.none()]",
        "{'a': {'b': optional.of(1)}}",
        "dyn({'a': optional.none()})",
        "18446744073709551615u",
        "0.0 / 0.0",
    ],
)
def test_what_json_cannot_carry_is_an_error_and_never_the_end_of_the_process(
    environment: Environment, source: str
) -> None:
    with pytest.raises(ExpressionError):
        value(environment, source)


@pytest.mark.parametrize(
    "source",
    [
        "json.marshal({'a': optional.none()})",
        "cel.bind(m, {'o': optional.none(), 'p': 1}, json.marshal(m))",
        "json.marshal({'k': (true ? optional.none() : other)})",
        "other.merge(dyn(optional.none()))",
        "json.marshal([dyn({'q': optional.none()})])",
    ],
)
def test_an_optional_never_reaches_our_functions(environment: Environment, source: str) -> None:
    with pytest.raises(ExpressionError):
        environment.compile(source)


def test_a_range_is_bounded_and_a_text_that_names_it_is_left_alone(environment: Environment) -> None:
    assert value(environment, "lists.range(3)") == [0, 1, 2]
    for text in ("'lists.range(3)'", '"lists.range\\"(3)"', "r'\\lists.range(3)'", "'''lists.range(3)'''"):
        assert "lists.range" in str(value(environment, f"{text} + string(lists.range(2).size()) // lists.range"))


def test_references_are_what_comes_from_outside(environment: Environment) -> None:
    uses = environment.compile("[1].map(x, x + other.a.b).map(other, other + 1).size() + size(schema.name)").uses
    assert uses.names == {"other", "schema"}
    assert uses.fields == {("other", "a"), ("schema", "name")}
    assert ("other", "status") in environment.compile("other.?status.?x.orValue(1)").uses.fields
    assert ("other", "status") in environment.compile("other['status']").uses.fields


@pytest.mark.parametrize(
    "source",
    [
        "lists.range(1000000000)",
        "lists . range(1000000000).size()",
        "lists.range(9999).all(x, lists.range(9999).all(y, true))",
        "(" * 200 + "1" + ")" * 200,
        "1" + " + 1" * 500,
        "'" + "x" * MAX_SOURCE + "'",
        "schema" + ".a" * 8_000,
    ],
)
def test_work_is_bounded(environment: Environment, source: str) -> None:
    with pytest.raises(ExpressionError):
        value(environment, source)
