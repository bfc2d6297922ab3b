"""Drift: what was applied as wanted, is different now, and is only to be reported or left alone.

Only what we own and applied whole can drift; what a newer target changes is applied whatever a policy says.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from holdfast_edge.core.diff import Owned
from holdfast_edge.core.observed import Observed
from holdfast_protocol.wire.drift import ANNOTATION, Mode, Rule, mode_of
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

HINT: Final = f"change it back, or have it corrected: {ANNOTATION}: correct, or another DriftPolicy"


def lenient(resources: Iterable[Resource], rules: Iterable[Rule]) -> dict[ResourceKey, Mode]:
    """Return the resources whose drift is not corrected: `report` or `ignore` by key."""
    every = tuple(rules)
    found = {each.key: mode_of(each.key, each.body, every) for each in resources}
    return {key: mode for key, mode in found.items() if mode != "correct"}


def tolerated(
    modes: Mapping[ResourceKey, Mode],
    wanted: Mapping[ResourceKey, Resource],
    owned: Mapping[ResourceKey, Owned],
    observed: Mapping[ResourceKey, Observed],
) -> tuple[dict[ResourceKey, Observed], dict[ResourceKey, Observed]]:
    """Return what was seen with tolerated drift taken for as wanted, and as it is what of that is to be reported."""
    seen, drifted = dict(observed), {}
    for key, mode in modes.items():
        look, thing = observed.get(key), owned.get(key)
        if look is None or look.as_wanted or key not in wanted or thing is None or thing.digest != wanted[key].digest:
            continue
        seen[key] = msgspec.structs.replace(look, exists=True, differences=(), readiness="ready")
        if mode == "report":
            drifted[key] = look
    return seen, drifted


def conditions(drifted: Mapping[ResourceKey, Observed]) -> dict[ResourceKey, Condition]:
    """Return what is said of drift that is reported and not corrected."""
    return {
        key: Condition("Degraded", "Drifted", "; ".join(look.differences) if look.exists else "it is gone", hint=HINT)
        for key, look in drifted.items()
    }
