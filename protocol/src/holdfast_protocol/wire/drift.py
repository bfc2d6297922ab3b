"""Drift policies: whether what somebody changed at a site is corrected, only reported, or left alone.

A resource says it of itself with the annotation `holdfast.io/drift`; a DriftPolicy says it of the resources it names at
the sites it is placed on. What is more specific wins: the annotation, a key, a kind, everything; of two alike, the one
that changes less. What a newer target changes is no drift and is always applied.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.names import ResourceKey

FEATURE: Final = "drift/v1"
KIND: Final = "DriftPolicy"
ANNOTATION: Final = "holdfast.io/drift"
MAX_POLICIES: Final = 64  # at one site
MAX_NAMED: Final = 200  # patterns of one policy
MAX_PATTERN: Final = 320  # characters

Mode = Literal["ignore", "report", "correct"]
MODES: Final[tuple[Mode, ...]] = ("ignore", "report", "correct")  # what changes less comes first


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`resources` are keys (`File/motd`), kinds (`Deployment/*`) or `*`; none: everything."""

    mode: Mode
    resources: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A DriftPolicy as a target carries it."""

    name: str
    mode: Mode
    resources: tuple[str, ...] = ()


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a DriftPolicy's spec, without its placement."""
    for key in spec:
        if key not in Spec.__struct_fields__:
            yield Flaw((key,), f"unknown field {str(key)[:80]!r}", hint="known: mode, placement, resources")
    if spec.get("mode") not in MODES:
        yield Flaw(("mode",), "mode must be correct, report or ignore")
    named = spec.get("resources", [])
    if not isinstance(named, list) or len(named) > MAX_NAMED:
        yield Flaw(("resources",), f"resources must be a list of at most {MAX_NAMED}")
        return
    for number, pattern in enumerate(named):
        if not isinstance(pattern, str) or _rank(pattern) == 0:
            yield Flaw(("resources", number), "must be Kind/name, Kind/namespace/name, Kind/* or *", hint="File/motd")


def carry(name: str, spec: dict[str, Any]) -> Rule:
    """Return a checked policy as a target carries it."""
    return Rule(name, spec["mode"], tuple(spec.get("resources", ())))


def check_rules(rules: Iterable[Rule]) -> None:
    """Raise WireError for rules that no hub of ours has made."""
    if len(every := tuple(rules)) > MAX_POLICIES:
        raise WireError(f"more than {MAX_POLICIES} drift policies", reason="TooLarge")
    for rule in every:
        if len(rule.resources) > MAX_NAMED or not all(map(_rank, rule.resources)):
            raise WireError(f"drift policy {rule.name[:80]!r} names no resources", reason="BadDrift")


def annotation_flaw(body: dict[str, Any]) -> str:
    """Return what is wrong with a resource's own annotation, "" when nothing is."""
    said = _annotated(body)
    if said is None or said in MODES:
        return ""
    return f"metadata.annotations[{ANNOTATION}] must be correct, report or ignore"


def mode_of(key: ResourceKey, body: dict[str, Any], rules: Iterable[Rule]) -> Mode:
    """Return how drift of a resource is met. An annotation that says nothing known counts as none."""
    said = _annotated(body)
    for mode in MODES:
        if said == mode:
            return mode
    found = [
        (-_rank(pattern), MODES.index(rule.mode))
        for rule in rules
        for pattern in rule.resources or ("*",)
        if _covers(pattern, key)
    ]
    return MODES[min(found)[1]] if found else "correct"


def _annotated(body: dict[str, Any]) -> Any:
    annotations = body["metadata"].get("annotations")
    return annotations.get(ANNOTATION) if isinstance(annotations, dict) else None


def _rank(pattern: str) -> int:
    """Return how specific a pattern is, 0 for what is none."""
    if pattern == "*":
        return 1
    parts = pattern.split("/")
    if len(pattern) > MAX_PATTERN or not 2 <= len(parts) <= 3 or not all(parts) or parts[0] == "*":
        return 0
    if parts[1:] == ["*"]:
        return 2
    return 0 if "*" in pattern else 3


def _covers(pattern: str, key: ResourceKey) -> bool:
    return pattern in ("*", key, f"{key.partition('/')[0]}/*")
