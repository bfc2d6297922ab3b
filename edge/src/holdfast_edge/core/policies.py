"""Policies at the site: what they have against what is about to be applied. What cannot be checked is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_TEXT: Final = 300  # characters of one condition's message


def refusals(policies: Sequence[dict[str, Any]], resources: Sequence[Resource]) -> dict[ResourceKey, Condition]:
    """Return why resources may not be applied, by key; for a thread."""
    try:
        from holdfast_protocol.blueprint import policy
    except ImportError as error:
        return unchecked(resources, f"this machine cannot evaluate expressions: {error}", reason="NoExpressions")
    try:
        known = [policy.compiled(each) for each in policies]
    except WireError as error:
        return unchecked(resources, error.message, reason=error.reason)
    found: dict[ResourceKey, Condition] = {}
    for each in resources:
        if violations := policy.violations(known, each):
            said = "; ".join(map(str, violations))[:MAX_TEXT]
            hint = "change the resource, or the policy"
            found[each.key] = Condition("Failed", "PolicyViolation", said, hint=hint)
    return found


def unchecked(resources: Sequence[Resource], why: str, *, reason: str) -> dict[ResourceKey, Condition]:
    """Return the refusal of everything: what nobody checked is not applied."""
    said = f"its policies cannot be checked: {why}"[:MAX_TEXT]
    return {each.key: Condition("Failed", reason, said) for each in resources}


def fresh(resources: Mapping[ResourceKey, Resource], judged: Mapping[ResourceKey, str]) -> list[Resource]:
    """Return the resources that were not judged at the body they have; `judged` are digests."""
    return [each for key, each in sorted(resources.items()) if judged.get(key) != _named(each)]


def marks(resources: Sequence[Resource]) -> dict[ResourceKey, str]:
    """Return what `fresh` compares, by key."""
    return {each.key: _named(each) for each in resources}


def _named(resource: Resource) -> str:
    return f"{resource.digest} of {resource.instance}"
