"""Judges of selectors and of the names and values they are made of."""

from typing import Any

from holdfast_hub.core.affinity import OPERATORS, admits, read_affinity
from holdfast_hub.core.placement import SiteView, values_of
from holdfast_hub.core.selector_text import field_terms_hold, parse_fields, parse_labels
from holdfast_hub.core.selectors import canonical, holds, read_expressions, read_selector, selects
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire import labels
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.names import SiteName
from support.conformance.cases import Case, Verdict, failing, judged

_NAMES = {
    "qualifiedName": labels.is_label_key,
    "labelValue": labels.is_label_value,
    "dns1123Label": labels.is_dns_label,
    "dns1123Subdomain": labels.is_dns_subdomain,
    "dns1035Label": labels.is_dns_1035_label,
}


def judge_selector(case: Case, _: dict[str, Any]) -> Verdict:
    kind = case["kind"]
    if kind in _NAMES:
        return judged(_NAMES[kind](case["text"]), case["expect"]["valid"])
    try:
        return {
            "labelSelector": _structured,
            "labelString": _label_text,
            "fieldString": _field_text,
            "nodeSelector": _affinity,
        }[kind](case)
    except InputError as error:
        return failing(case, str(error))


def _structured(case: Case) -> Verdict:
    flaws: list[Flaw] = []
    selector = read_selector(case["selector"], flaws)
    if flaws:
        return failing(case, str(flaws[0]))
    match = selector is not None and selects(selector, case["labels"])
    got = {"canonical": canonical(selector or ()), "empty": selector == (), "match": match}
    return judged(got, case["expect"])


def _label_text(case: Case) -> Verdict:
    selector = parse_labels(case["text"])
    return judged({"canonical": canonical(selector), "match": selects(selector, case["labels"])}, case["expect"])


def _field_text(case: Case) -> Verdict:
    terms = parse_fields(case["text"])
    match = field_terms_hold(terms, case.get("fields") or {})
    return judged({"canonical": ",".join(map(str, terms)), "match": match}, case["expect"])


def _affinity(case: Case) -> Verdict:
    flaws: list[Flaw] = []
    terms = read_affinity(case["selector"], flaws)
    if flaws:
        return failing(case, str(flaws[0]))
    return judged({"match": admits(terms, case["labels"], case["fields"].get("metadata.name", ""))}, case["expect"])


def judge_field_selector(case: Case, _: dict[str, Any]) -> Verdict:
    """Karmada's evaluator takes what its admission and ours refuse (Gt, an empty list): judged by meaning alone."""
    flaws: list[Flaw] = []
    requirements = read_expressions(case["matchExpressions"], flaws, (), operators=OPERATORS)
    target = case["target"]
    fields = {"zone": tuple(target.get("zones") or ())}
    fields |= {key: (target[key],) for key in ("region", "provider") if target.get(key)}
    site = SiteView(SiteName("site"), {}, fields)
    match = all(holds(each, values_of(site, "field", each.key)) for each in requirements)
    return judged(match, case["expect"].get("match"))
