"""Node affinity: terms of which one must hold, as Kubernetes has it for choosing the node of a Pod."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_hub.core.selectors import Operator, Requirement, Selector, holds, read_expressions, selects
from holdfast_protocol.wire.flaws import Flaw

OPERATORS: Final[tuple[Operator, ...]] = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
FIELD: Final = "metadata.name"  # the only one that exists


class Term(msgspec.Struct, frozen=True):
    """All of it must hold; an empty term holds nowhere."""

    expressions: Selector = ()
    fields: Selector = ()


def read_affinity(value: Any, flaws: list[Flaw]) -> tuple[Term, ...]:
    """Return the terms of a node selector; what is wrong goes to `flaws`."""
    terms = value.get("nodeSelectorTerms") if isinstance(value, dict) else None
    if not isinstance(terms, list):
        flaws.append(Flaw(("nodeSelectorTerms",), "must be a list of terms"))
        return ()
    found = []
    for index, each in enumerate(terms):
        path = ("nodeSelectorTerms", index)
        if not isinstance(each, dict):
            flaws.append(Flaw(path, "a term is a map with matchExpressions and matchFields"))
            continue
        expressions = read_expressions(
            each.get("matchExpressions"), flaws, (*path, "matchExpressions"), operators=OPERATORS
        )
        fields = read_expressions(
            each.get("matchFields"), flaws, (*path, "matchFields"), operators=("In", "NotIn"), single=True
        )
        found.append(Term(tuple(expressions), tuple(fields)))
    return tuple(found)


def admits(terms: tuple[Term, ...], labels: Mapping[str, str], name: str) -> bool:
    """Return whether one of the terms holds for a node."""
    return any(_holds(each, labels, name) for each in terms)


def _holds(term: Term, labels: Mapping[str, str], name: str) -> bool:
    if not term.expressions and not term.fields:
        return False
    fields = all(_field_holds(each, name) for each in term.fields)
    return fields and selects(term.expressions, labels)


def _field_holds(requirement: Requirement, name: str) -> bool:
    return holds(requirement, (name,) if requirement.key == FIELD else ())
