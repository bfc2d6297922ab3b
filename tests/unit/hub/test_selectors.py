import pytest

from holdfast_hub.core.selector_text import field_terms_hold, parse_fields, parse_labels
from holdfast_hub.core.selectors import Requirement, canonical, read_selector, selects
from holdfast_protocol.wire.flaws import Flaw
from support.blueprints import problems_of


def test_an_absent_selector_is_not_an_empty_one() -> None:
    assert read_selector(None, []) is None
    assert read_selector({}, []) == ()
    assert selects((), {})


def test_all_flaws_of_a_selector_are_found_with_their_paths() -> None:
    flaws: list[Flaw] = []
    value = {
        "matchLabels": {"a b": "x", "ok": "-"},
        "matchExpression": [],
        "matchExpressions": [
            {"key": "zone", "operator": "in"},
            {"key": "zone", "operator": "Exists", "values": ["a"]},
            3,
        ],
    }
    assert read_selector(value, flaws) is None
    assert [flaw.path for flaw in flaws] == [
        ("matchExpression",),
        ("matchLabels", "a b"),
        ("matchLabels", "ok", 0),
        ("matchExpressions", 0, "operator"),
        ("matchExpressions", 1, "values"),
        ("matchExpressions", 2),
    ]


def test_the_text_form_means_what_it_prints() -> None:
    text = "zone in (b,a),!legacy,tier!=core,cpu>4,edge"
    selector = parse_labels(text)
    assert canonical(selector) == "cpu>4,edge,!legacy,tier!=core,zone in (a,b)"
    assert parse_labels(canonical(selector)) == tuple(sorted(selector, key=lambda each: each.key))
    assert selects(selector, {"zone": "a", "cpu": "8", "edge": ""})
    assert not selects(selector, {"zone": "a", "cpu": "8", "edge": "", "tier": "core"})


@pytest.mark.parametrize(
    ("text", "column"), [("zone in a", 9), ("=a", 1), ("a,,b", 3), ("a in (b", 8), ("a>x", 3), ("a b", 3), ("a=b=c", 4)]
)
def test_a_broken_text_is_refused_at_its_column(text: str, column: int) -> None:
    (problem,) = problems_of(parse_labels, text)
    assert problem.column == column


def test_an_absent_field_reads_as_empty_and_values_may_be_escaped() -> None:
    terms = parse_fields("a=x\\,y\\=z,b!=1,c=")
    assert field_terms_hold(terms, {"a": "x,y=z"})
    assert not field_terms_hold(terms, {"a": "x,y=z", "b": "1"})
    assert ",".join(map(str, terms)) == "a=x\\,y\\=z,b!=1,c="


def test_a_requirement_reads_as_people_write_it() -> None:
    assert str(Requirement("zone", "NotIn", ("b", "a"))) == "zone notin (a,b)"
    assert str(Requirement("zone", "DoesNotExist")) == "!zone"


@pytest.mark.parametrize("text", ["x" * 20_000, "a," * 5_000])
def test_a_very_long_selector_is_refused(text: str) -> None:
    assert problems_of(parse_labels, text)
    assert problems_of(parse_fields, text)
