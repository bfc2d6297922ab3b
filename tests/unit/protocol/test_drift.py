"""What a drift policy may say, and whose word counts for a resource."""

from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.drift import ANNOTATION, Mode, Rule, annotation_flaw, carry, check_rules, flaws, mode_of
from holdfast_protocol.wire.names import resource_key
from holdfast_protocol.wire.target import Content
from support.builders import a_target, expected, file_body


def body(said: Any = None) -> dict[str, Any]:
    made = file_body("motd")
    if said is not None:
        made["metadata"]["annotations"] = {ANNOTATION: said}
    return made


@pytest.mark.parametrize(
    ("said", "rules", "mode"),
    [
        (None, [], "correct"),
        ("report", [], "report"),
        ("report", [Rule("p", "ignore", ("File/motd",))], "report"),
        ("sometimes", [Rule("p", "ignore")], "ignore"),
        (7, [], "correct"),
        (None, [Rule("p", "report")], "report"),
        (None, [Rule("p", "report", ("File/other",))], "correct"),
        (None, [Rule("p", "report", ("*",)), Rule("q", "correct", ("File/*",))], "correct"),
        (None, [Rule("p", "report", ("File/motd",)), Rule("q", "ignore", ("File/*",))], "report"),
        (None, [Rule("p", "correct", ("File/motd",)), Rule("q", "report", ("File/motd",))], "report"),
        (None, [Rule("p", "report", ("Deployment/*",))], "correct"),
    ],
)
def test_the_most_specific_word_counts_and_of_two_alike_the_one_that_changes_less(
    said: Any, rules: list[Rule], mode: Mode
) -> None:
    made = body(said)
    assert mode_of(resource_key(made), made, rules) == mode


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, ("mode",)),
        ({"mode": "maybe"}, ("mode",)),
        ({"mode": ["report"]}, ("mode",)),
        ({"mode": "report", "for": 1}, ("for",)),
        ({"mode": "report", "resources": "File/a"}, ("resources",)),
        ({"mode": "report", "resources": ["File/*", "File"]}, ("resources", 1)),
        ({"mode": "report", "resources": [3]}, ("resources", 0)),
        ({"mode": "report", "resources": ["*/a"]}, ("resources", 0)),
        ({"mode": "report", "resources": ["File/a*"]}, ("resources", 0)),
        ({"mode": "report", "resources": ["File/" + "a" * 400]}, ("resources", 0)),
        ({"mode": "report", "resources": ["*"] * 201}, ("resources",)),
    ],
)
def test_every_flaw_has_its_place(spec: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert [flaw.path for flaw in flaws(spec)] == [path]


def test_a_good_spec_is_carried_as_it_is() -> None:
    spec = {"mode": "report", "resources": ["File/motd", "ConfigMap/shop/web", "Deployment/*", "*"]}
    assert list(flaws(spec)) == []
    assert carry("quiet", spec) == Rule("quiet", "report", tuple(spec["resources"]))


def test_an_annotation_must_say_something_known() -> None:
    assert [bool(annotation_flaw(body(said))) for said in (None, "ignore", "no", 1)] == [False, False, True, True]


def test_rules_no_hub_has_made_are_refused_by_the_site() -> None:
    for rule in (Rule("p", "report", ("nonsense",)), Rule("p", "report", ("*",) * 300)):
        with pytest.raises(WireError):
            check_rules([rule])
    with pytest.raises(WireError):
        check_rules([Rule("p", "report")] * 65)
    assert Content(drift=(Rule("p", "report"),)) != Content()
    assert expected(a_target(content=Content(drift=(Rule("p", "report"),))))
