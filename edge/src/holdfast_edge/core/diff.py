"""Diff: the steps possible now. The empty plan means converged.

[inv: same-inputs-same-plan] Removals first (a new thing may need the port or path of an old one), then changes, then
what cannot be done yet; each by key. What nobody could look at gets no step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast_edge.core.holds import covering
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.order import Dependencies
from holdfast_edge.core.steps import Create, Held, Remove, Step, Update, Wait
from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class Owned(msgspec.Struct, frozen=True):
    """A thing of ours: the body last applied and what it depended on. `digest` is "" until it was applied whole.

    `instance` and `id` (in its blueprint) say what it was made for: late resources are known again by it.
    """

    body: dict[str, Any]
    digest: str = ""
    depends_on: tuple[ResourceKey, ...] = ()
    instance: str = ""
    id: str = ""


def diff(
    target: Mapping[ResourceKey, Resource],
    dependencies: Dependencies,
    observed: Mapping[ResourceKey, Observed],
    owned: Mapping[ResourceKey, Owned],
    holds: Sequence[Hold] = (),
    unsupported: frozenset[ResourceKey] = frozenset(),
) -> tuple[Step, ...]:
    """Return the plan. `holds` are those that stand now; `unsupported` are keys this machine can never make,
    which therefore hold up nothing. [inv: unknown-kind-is-kept-not-fatal]"""
    first: list[Step] = []
    later: list[Step] = []
    for step in (*_removals(target, owned, holds), *_changes(target, dependencies, observed, holds, unsupported)):
        (later if isinstance(step, Wait | Held) else first).append(step)
    return (*first, *later)


def _changes(
    target: Mapping[ResourceKey, Resource],
    dependencies: Dependencies,
    observed: Mapping[ResourceKey, Observed],
    holds: Sequence[Hold],
    unsupported: frozenset[ResourceKey],
) -> list[Step]:
    steps: list[Step] = []
    for key in sorted(target):
        seen = observed.get(key)
        if seen is None or seen.as_wanted or key in unsupported:
            continue
        blockers = tuple(
            other for other in dependencies[key] if other not in unsupported and not _is_ready(observed.get(other))
        )
        if hold := covering(key, holds):
            steps.append(Held(key, hold.id, hold.reason))
        elif blockers:
            steps.append(Wait(key, blockers))
        elif seen.exists:
            steps.append(Update(target[key], seen.differences))
        else:
            steps.append(Create(target[key]))
    return steps


def _is_ready(seen: Observed | None) -> bool:
    return seen is not None and seen.as_wanted and seen.readiness == "ready"


def _removals(
    target: Mapping[ResourceKey, Resource], owned: Mapping[ResourceKey, Owned], holds: Sequence[Hold]
) -> list[Step]:
    """In reverse order: what another thing of ours, as last applied, still depends on goes after that thing was
    removed or changed. [inv: only-owned-things-are-removed, nothing-is-removed-because-of-time]"""
    unwanted = sorted(key for key in owned if key not in target)
    if not unwanted:
        return []
    needed: dict[ResourceKey, set[ResourceKey]] = {}
    for key, thing in owned.items():
        if key not in target or target[key].digest != thing.digest:
            for other in thing.depends_on:
                needed.setdefault(other, set()).add(key)
    blockers = {key: needed.get(key, set()) - {key} for key in unwanted}
    if all(blockers.values()) and set().union(*blockers.values()) <= set(unwanted):
        blockers[unwanted[0]] = set()  # bodies of different targets can form a circle: start it somewhere, but the same
    steps: list[Step] = []
    for key in unwanted:
        if hold := covering(key, holds):
            steps.append(Held(key, hold.id, hold.reason, removing=True))
        elif blockers[key]:
            steps.append(Wait(key, tuple(sorted(blockers[key])), removing=True))
        else:
            steps.append(Remove(key, owned[key].body))
    return steps
