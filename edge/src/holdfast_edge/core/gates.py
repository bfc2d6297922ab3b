"""Gates: which changes of a plan may begin now. Windows first, then whoever there says "not now".

`drift` is the gate of what was applied as it is wanted and is not so any more, `reboots` that of a restart, `targets` that
of everything a newer target brings or takes away. What has begun is finished; what is shut only keeps new steps from beginning.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from holdfast_edge.core.diff import Owned
from holdfast_edge.core.steps import Gated, Remove, Restart, Step, Work
from holdfast_edge.core.windows import Standing, Verdict, verdict
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource
from holdfast_protocol.wire.windows import Gate


def gate_of(change: Work, owned: Mapping[ResourceKey, Owned]) -> Gate:
    """Return the gate a change has to pass."""
    if isinstance(change, Restart):
        return "reboots"
    if isinstance(change, Remove):
        return "targets"
    applied = owned.get(change.key)
    return "drift" if applied is not None and applied.digest == change.resource.digest else "targets"


def instance_of(change: Work, owned: Mapping[ResourceKey, Owned]) -> str:
    """Return the instance a change is for, or that what it removes was made for."""
    if isinstance(change, Restart):
        return ""
    if not isinstance(change, Remove):
        return change.resource.instance
    return owned[change.key].instance if change.key in owned else ""


def judged(
    change: Work, standings: Sequence[Standing], owned: Mapping[ResourceKey, Owned], *, trusted: bool
) -> Verdict:
    """Return what the windows say of a change."""
    return verdict(standings, gate_of(change, owned), change.key, instance_of(change, owned), trusted=trusted)


def gated(
    plan: Sequence[Step],
    standings: Sequence[Standing],
    owned: Mapping[ResourceKey, Owned],
    *,
    trusted: bool,
    back: bool = False,
) -> tuple[tuple[Step, ...], dict[ResourceKey, int]]:
    """Return the plan with what windows keep from beginning as Gated, and until when the rest may begin (seconds since
    1970; absent: no end). `back`: the plan goes back to the last good target, which no `targets` gate holds up."""
    if not standings:
        return tuple(plan), {}
    steps: list[Step] = []
    ends: dict[ResourceKey, int] = {}
    for step in plan:
        if not isinstance(step, Work):
            steps.append(step)
            continue
        if back and gate_of(step, owned) == "targets":
            steps.append(step)
            continue
        found = judged(step, standings, owned, trusted=trusted)
        if found.open:
            steps.append(step)
            if found.until is not None:
                ends[step.key] = found.until
        else:
            reason: Literal["Window", "Clock"] = "Window" if found.trusted else "Clock"
            removing = isinstance(step, Remove)
            steps.append(Gated(step.key, gate_of(step, owned), reason, found.message, found.until, removing))
    return tuple(steps), ends


def deferred(
    plan: Sequence[Step],
    refusals: Mapping[ResourceKey, tuple[str, int | None]],
    owned: Mapping[ResourceKey, Owned],
) -> tuple[Step, ...]:
    """Return the plan with what somebody said "not now" to as Gated: the message, and until when at most."""
    return tuple(
        Gated(step.key, gate_of(step, owned), "NotNow", *refusals[step.key], removing=isinstance(step, Remove))
        if isinstance(step, Work) and step.key in refusals
        else step
        for step in plan
    )


def may_download(standings: Sequence[Standing], resource: Resource, *, trusted: bool) -> Verdict:
    """Return whether what a resource needs may be fetched now."""
    return verdict(standings, "downloads", resource.key, resource.instance, trusted=trusted)
