"""Judge of whole definitions: refused or not, order, waves, dependencies, and the evaluation with what is observed."""

import copy
from collections.abc import Sequence
from typing import Any

from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.evaluation import Body, evaluate
from holdfast_protocol.blueprint.names import KRO_KIND, KRO_VERSION
from holdfast_protocol.blueprint.node import Node
from holdfast_protocol.errors import InputError
from support.conformance.cases import Case, Verdict, document_of


def judge_graph(case: Case, _: dict[str, Any]) -> Verdict:
    features = _features(case)
    try:
        definition = check_blueprint(_blueprint(case["definition"])).value
    except InputError as error:
        return Verdict("error" in case["expect"], f"refused: {error}", features)
    got = _difference(case, definition)
    return Verdict(not got, got, features)


def _blueprint(definition: dict[str, Any]) -> Any:
    frame = {"apiVersion": KRO_VERSION, "kind": KRO_KIND, "metadata": {"name": "case"}}
    return document_of({**frame, "spec": definition})


def _difference(case: Case, definition: Definition) -> str:
    expect = case["expect"]
    if "error" in expect:
        return "accepted"
    depends = {each.id: sorted(each.needs) for each in definition.nodes}
    for name, got, wanted in (
        ("order", list(definition.resources), expect["topologicalOrder"]),
        ("waves", definition.waves, expect["applyOrders"]),
        ("dependencies", depends, {key: sorted(each) for key, each in expect["dependencies"].items()}),
    ):
        if got != wanted:
            return f"{name}: {got}"
    return _evaluated_difference(case, definition) if "nodes" in expect else ""


def _evaluated_difference(case: Case, definition: Definition) -> str:
    expect = case["expect"]
    document = document_of({"apiVersion": "v1alpha1", "kind": definition.kind, **case["instance"]})
    try:
        instance = check_instance(definition, document).value
    except InputError as error:
        wrong = any(each["state"] in ("error", "pending") for each in expect["nodes"])
        return "" if wrong else f"refused: {error}"
    seen = case.get("observed", {})
    evaluation = evaluate(definition, instance.as_schema(), lambda node, bodies: _observed(seen, node, bodies))
    outcomes = {each.id: each for each in evaluation.outcomes}
    for each in expect["nodes"]:
        outcome = outcomes[each["id"]]
        if outcome.state != each["state"]:
            return f"{outcome.id} is {outcome.state}: {outcome.why or outcome.failures}"
        if "desired" in each and [*(outcome.desired or ())] != each["desired"]:
            return f"{outcome.id}: {outcome.desired}"
    if "status_error" in expect:
        return "" if evaluation.status is None else f"status {evaluation.status}"
    if evaluation.status != expect.get("status", {}):
        return f"status {evaluation.status}"
    return _rendered_difference(case, definition, instance) if not seen else ""


def _rendered_difference(case: Case, definition: Definition, instance: Any) -> str:
    """What the hub renders is what the evaluation says, where everything is there and ready."""
    nodes = case["expect"]["nodes"]
    if definition.late or any(each["state"] not in ("ready", "skipped") for each in nodes):
        return ""
    wanted = [body for each in nodes for body in each.get("desired", ())]
    try:
        rendered = [each.body for each in render(definition, instance, checked=False)]
    except InputError as error:
        return f"not rendered: {error}"
    return "" if rendered == wanted else f"rendered {rendered}"


def _observed(seen: dict[str, Any], node: Node, bodies: Sequence[Body]) -> Sequence[Body]:
    """Everything is there as desired unless the case says otherwise: a map on top, a list instead, null not at all."""
    if node.id not in seen:
        return bodies
    said = seen[node.id]
    if said is None:
        return []
    if isinstance(said, list):
        return list(said)
    return [_merged(each, said) for each in bodies]


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return copy.deepcopy(above)
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def _features(case: Case) -> frozenset[str]:
    gated = "omit()" in repr(case["definition"]["resources"]) and not case.get("omit")
    return frozenset(["omit() without its gate"] if gated else [])
