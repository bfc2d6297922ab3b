"""Decisions about overrides: what a person at the hub makes of a change that a person at a site laid over the target."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.wire.flaws import Flaw

FEATURE: Final = "overrides/v1"
KIND: Final = "OverrideDecision"
MAX_DECISIONS: Final = 200  # at one site
VERDICTS: Final = ("adopted", "dropped")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`override` is its id; adopted: an overlay says it now; dropped: the target stays as it is."""

    override: str
    verdict: Literal["adopted", "dropped"]
    by: str = ""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision as a target carries it."""

    id: str
    verdict: Literal["adopted", "dropped"]
    by: str


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with an OverrideDecision's spec, without its placement."""
    for key in spec:
        if key not in Spec.__struct_fields__:
            yield Flaw((key,), f"unknown field {str(key)[:80]!r}", hint="known: override, verdict, by, placement")
    override = spec.get("override")
    if not isinstance(override, str) or not 0 < len(override) <= 64:
        yield Flaw(("override",), "override is the id of one: holdfast get overrides")
    if spec.get("verdict") not in VERDICTS:
        yield Flaw(("verdict",), "verdict must be adopted or dropped")
    if not isinstance(spec.get("by", ""), str) or len(spec.get("by", "")) > 300:
        yield Flaw(("by",), "by is who decided, at most 300 characters")


def carry(spec: dict[str, Any]) -> Decision:
    """Return a checked decision as a target carries it."""
    return Decision(spec["override"], spec["verdict"], spec.get("by", ""))
