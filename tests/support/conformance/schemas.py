"""Judges of SimpleSchema: markers, schemas, instances."""

from typing import Any

from holdfast_hub.blueprint.change import schema_changes
from holdfast_protocol.blueprint.documents import path_text
from holdfast_protocol.blueprint.markers import parse_markers
from holdfast_protocol.blueprint.rules import broken, compile_rules
from holdfast_protocol.blueprint.schema import open_api
from holdfast_protocol.blueprint.schema_checks import check_schema
from holdfast_protocol.blueprint.values import ABSENT, BLOCKING, defaulted, pruned, violations
from support.conformance.cases import Case, Verdict, failing, judged, problems


def judge_markers(case: Case, _: dict[str, Any]) -> Verdict:
    try:
        found = [list(each) for each in parse_markers(case["text"])]
    except ValueError as error:
        return failing(case, str(error))
    return judged({"markers": found}, case["expect"])


def judge_schema(case: Case, _: dict[str, Any]) -> Verdict:
    found = problems()
    schema = open_api(case["spec"], case.get("types"), found, ())
    if found.errors:
        return failing(case, str(found.errors[0]))
    return judged(schema, case["expect"].get("schema"))


def judge_instance(case: Case, _: dict[str, Any]) -> Verdict:
    """What the API server refuses of a definition may be refused here too: it is found earlier."""
    expect = case["expect"]
    found = problems()
    schema = open_api(case["spec"], case.get("types"), found, ())
    if not found.errors:
        check_schema(schema, found, ())
        rules = compile_rules(schema, found, ())
    if found.errors:
        refusable = "blueprint_error" in expect or expect.get("api_server_rejects_definition")
        return Verdict(bool(refusable), f"definition refused: {found.errors[0]}")
    if "blueprint_error" in expect:
        return Verdict(False, "definition accepted")
    root = {"type": "object", "properties": {"spec": schema}}
    value = {} if case["instance"] is None else {"spec": case["instance"]}
    kept, dropped = pruned(value, root)
    filled = defaulted(kept, root)
    wrong = violations(filled, root)
    if not any(each.fault in BLOCKING for each in wrong):
        old = {"spec": case["old"]} if "old" in case else ABSENT
        wrong += list(broken(filled, old, root, rules))
    got = (
        not wrong,
        filled.get("spec"),
        sorted(path_text(path) for path in dropped),
        {(path_text(each.path), _fault(each.fault)) for each in wrong},
    )
    wanted = (
        expect["valid"],
        expect["defaulted"],
        sorted(expect["pruned"]),
        {(each["field"], each["type"]) for each in expect["errors"]},
    )
    return judged(got, wanted)


def judge_change(case: Case, _: dict[str, Any]) -> Verdict:
    """Both lists as sets of (path, change); a deviation can name a change."""
    found = problems()
    old, new = (open_api(case[key], case.get(f"{key}Types"), found, ()) for key in ("old", "new"))
    if found.errors:
        return failing(case, str(found.errors[0]))
    expect = case["expect"]
    changes = schema_changes(old, new)
    got = (
        not any(each.breaking for each in changes),
        {(each.path, each.change) for each in changes if each.breaking},
        {(each.path, each.change) for each in changes if not each.breaking},
    )
    wanted = (
        expect["compatible"],
        {(each["path"], each["change"]) for each in expect["breaking"]},
        {(each["path"], each["change"]) for each in expect["nonBreaking"]},
    )
    return judged(got, wanted, *(each.change for each in changes))


def _fault(fault: str) -> str:
    return "FieldValueTypeInvalid" if fault == "Type" else f"FieldValue{fault}"
