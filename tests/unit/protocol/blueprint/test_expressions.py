import pytest

from holdfast_protocol.blueprint.expressions import MAX_LENGTH, Part, ScanError, scan


def test_a_text_that_is_one_expression_is_a_value_and_anything_else_a_template() -> None:
    assert [scan(text).kind for text in ("a", "${a}", "${a} ", "x${a}", "${a}${b}")] == [
        "literal",
        "expression",
        "template",
        "template",
        "template",
    ]


def test_braces_and_quotes_inside_an_expression_belong_to_it() -> None:
    assert scan('${{"k": "}"}.k}').parts == (Part('{"k": "}"}.k', 2),)
    assert scan('${"\\"}"}').parts == (Part('"\\"}"', 2),)


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("$${HOME}", "${HOME}"),
        ("a $${b} c", "a ${b} c"),
        ("$${", "${"),
        ("$$", "$$"),
        ("$$${a}", "$${a}"),
        ("${a", "${a"),
    ],
)
def test_two_dollars_before_a_brace_are_a_literal_dollar(text: str, literal: str) -> None:
    assert scan(text).pieces == (literal,)


def test_an_escape_and_an_expression_stand_side_by_side() -> None:
    assert scan("$${a}${b}$${c}").pieces == ("${a}", Part("b", 7), "${c}")


def test_an_expression_inside_an_expression_is_refused_where_it_begins() -> None:
    with pytest.raises(ScanError) as caught:
        scan("x ${a + ${b}}")
    assert caught.value.offset == 8


@pytest.mark.parametrize("text", ["${" + "a" * (MAX_LENGTH + 10) + "}", "${a}" * 2_000, '${"' * 2_000])
def test_what_would_take_long_to_scan_is_refused(text: str) -> None:
    with pytest.raises(ScanError):
        scan(text)
