"""Judge of whole definitions: refused or not, order, waves, dependencies, rendered resources."""

from typing import Any

from holdfast_hub.blueprint.definition import Definition, check_blueprint
from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.names import API_VERSION
from holdfast_hub.blueprint.render import render
from holdfast_protocol.errors import InputError
from support.conformance.cases import Case, Verdict, document_of

_LATER = ("includeWhen", "readyWhen", "forEach", "externalRef")


def judge_graph(case: Case, _: dict[str, Any]) -> Verdict:
    features = _features(case)
    try:
        definition = check_blueprint(_blueprint(case["definition"])).value
    except InputError as error:
        unsupported = "not supported yet" in str(error)  # refused for what we lack, whatever else is wrong with it
        return Verdict("error" in case["expect"] and not unsupported, f"refused: {error}", features)
    got = _difference(case, definition)
    return Verdict(not got, got, features)


def _blueprint(definition: dict[str, Any]) -> Any:
    frame = {"apiVersion": API_VERSION, "kind": "Blueprint", "metadata": {"name": "case"}}
    return document_of({**frame, "spec": definition})


def _difference(case: Case, definition: Definition) -> str:
    expect = case["expect"]
    if "error" in expect:
        return "accepted"
    depends = {each.id: sorted(each.needs) for each in definition.templates}
    for name, got, wanted in (
        ("order", list(definition.resources), expect["topologicalOrder"]),
        ("waves", definition.waves, expect["applyOrders"]),
        ("dependencies", depends, {key: sorted(each) for key, each in expect["dependencies"].items()}),
    ):
        if got != wanted:
            return f"{name}: {got}"
    return _rendered_difference(case, definition) if "nodes" in expect else ""


def _rendered_difference(case: Case, definition: Definition) -> str:
    nodes = case["expect"]["nodes"]
    given = case["instance"]
    document = document_of({"apiVersion": "v1alpha1", "kind": definition.kind, **given})
    try:
        instance = check_instance(definition, document).value
        rendered = {each.id: each.body for each in render(definition, instance)}
    except InputError as error:
        wrong = any(each["state"] in ("error", "pending") for each in nodes)
        return "" if wrong else f"refused: {error}"
    for each in nodes:
        if each["state"] in ("error", "pending"):
            return f"{each['id']} rendered, expected {each['state']}"
        if each.get("desired") != [rendered.get(each["id"])]:
            return f"{each['id']}: {rendered.get(each['id'])}"
    return ""


def _features(case: Case) -> frozenset[str]:
    found = {
        key for each in case["definition"]["resources"] for key in _LATER if isinstance(each, dict) and key in each
    }
    text = repr(case["definition"]["resources"])
    found |= {name for name in ("omit()", ".status", ".?status") if name in text}
    if case["definition"]["schema"].get("status"):
        found.add("status")
    if "observed" in case:
        found.add("observed")
    return frozenset(found)
