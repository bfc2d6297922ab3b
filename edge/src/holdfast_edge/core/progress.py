"""Progress: what a look at the machine means for a target's transaction, and the words for where that stands."""

from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast_edge.core.attempts import Attempt
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.steps import Create, Gated, Held, Step, Update, Wait, digest_of
from holdfast_edge.core.transaction import BACK, Open, Seen, Transaction
from holdfast_protocol.wire.messages import Cause, Condition, Progress
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

RETRY: Final = "holdfast-edge retry, or holdfast retry SITE at the hub"


class Picture(msgspec.Struct, frozen=True):
    """One look at the target the machine is brought to. `unsupported` are keys that can never be done here; `stuck` says by
    key what change it has no turn for, that does not end."""

    wanted: Mapping[ResourceKey, Resource]
    owned: Mapping[ResourceKey, Owned]
    observed: Mapping[ResourceKey, Observed]
    blind: Mapping[ResourceKey, Condition]
    plan: tuple[Step, ...]
    attempts: Mapping[ResourceKey, Attempt]
    unsupported: frozenset[ResourceKey]
    stuck: Mapping[ResourceKey, ResourceKey] = {}


def seen(picture: Picture, limit: float) -> Seen:
    """Return what the look says. `limit` in seconds is for resources that name none. What only waits for another
    resource, or for its provider to come to it, has not had its turn and uses up nothing."""
    steps = {step.key: step for step in picture.plan}
    found: dict[ResourceKey, Open] = {}
    settled = True
    for key, resource in picture.wanted.items():
        if key in picture.unsupported:
            continue
        look = picture.observed.get(key)
        if look is not None and look.as_wanted and look.readiness == "ready":
            continue
        settled = False
        if (why := _cause(key, look, picture, steps.get(key))) is not None:
            cause, final = why
            found[key] = Open(cause, deadline(resource, limit), final)
    for key in picture.owned:
        if key not in picture.wanted:
            settled = False
            attempt = picture.attempts.get(key)
            if key in picture.stuck:
                found[key] = Open(_stuck("remove", key, picture.stuck[key]), limit)
            elif attempt is not None and attempt.digest == "" and attempt.outcome != "done" and key in steps:
                found[key] = Open(_failed("remove", attempt), limit, attempt.outcome == "permanent")
    waits = any(isinstance(step, Held | Gated) for step in picture.plan)
    return Seen(settled, found, waits)


def deadline(resource: Resource, limit: float) -> float:
    """Return how many seconds a resource may take: what its own spec says (as a Deployment can), else `limit`."""
    own = resource.spec.get("progressDeadlineSeconds")
    return float(own) if isinstance(own, int) and not isinstance(own, bool) and own > 0 else limit


def _cause(key: ResourceKey, look: Observed | None, picture: Picture, step: Step | None) -> tuple[Cause, bool] | None:
    if isinstance(step, Wait | Held | Gated):
        return None
    if key in picture.blind:
        blind = picture.blind[key]
        return Cause("observe", key, blind.reason, blind.message, blind.hint), False
    if look is None:
        return None
    if look.as_wanted:
        return Cause("readiness", key, look.reason or "NotReady", look.message), False
    if key in picture.stuck:
        return _stuck("apply", key, picture.stuck[key]), False
    attempt = picture.attempts.get(key)
    if attempt is None or attempt.digest != picture.wanted[key].digest:
        return None
    if attempt.outcome == "done":
        return Cause("verify", key, "Differs", "; ".join(look.differences)[:300]), False
    return _failed("apply", attempt), attempt.outcome == "permanent"


def _stuck(phase: str, key: ResourceKey, by: ResourceKey) -> Cause:
    return Cause(phase, key, "Hangs", f"a change of {by} was begun and does not end", "what it writes to may hang")


def _failed(phase: str, attempt: Attempt) -> Cause:
    return Cause(phase, attempt.key, attempt.reason, attempt.message, attempt.hint)


def kept_up(plan: tuple[Step, ...], owned: Mapping[ResourceKey, Owned]) -> tuple[Step, ...]:
    """Return of a plan for the target before only the repair of what was applied whole: while the newest is being
    prepared nothing of an older one is begun. [inv: newer-target-cancels-retries]"""
    return tuple(
        step
        for step in plan
        if isinstance(step, Create | Update) and (thing := owned.get(step.key)) and thing.digest == digest_of(step)
    )


def set_aside(
    it: Transaction, newest: Mapping[ResourceKey, Resource], held: Mapping[ResourceKey, Resource], held_generation: int
) -> dict[ResourceKey, Condition]:
    """Return the conditions of what the newest target wants and the machine is not brought to now."""
    apart = [key for key, wanted in newest.items() if key not in held or held[key].digest != wanted.digest]
    if it.stage == "preparing":
        return {key: Condition("Waiting", "Preparing", _words(it.cause)) for key in apart}
    if it.stage not in BACK or it.cause is None:
        return {}
    kept = f"kept at generation {held_generation}: {_words(it.cause)}"
    reason = "Rejected" if it.stage == "rejected" else "RolledBack"
    made = {key: Condition("Degraded", reason, kept, hint=RETRY) for key in apart}
    guilty = ResourceKey(it.cause.resource)
    if guilty in made:
        made[guilty] = Condition("Failed", it.cause.reason, it.cause.message, hint=it.cause.hint)
    return made


def progress(it: Transaction, *, held: int, last_good: int, bad: tuple[str, ...]) -> Progress:
    """Return what a status says of the transaction; `held` and `last_good` are generations."""
    return Progress(it.stage, held, last_good, it.cause, it.second, bad, _next(it, held))


def _next(it: Transaction, held: int) -> str:
    match it.stage:
        case "preparing":
            return "applied once all of it is prepared"
        case "applying" | "verifying" | "stable":
            return ""
        case "degraded":
            return "tried on and on: there is no last-good target to go back to"
        case "rolling-back":
            return f"going back to generation {held}"
        case "stuck":
            return f"going back to generation {held} is tried on and on; a newer target ends it"
        case "rolled-back" | "rejected":
            return f"kept at generation {held} until a newer target, or {RETRY}"


def _words(cause: Cause | None) -> str:
    if cause is None:
        return ""
    return ": ".join(part for part in (cause.phase, cause.resource, cause.reason, cause.message) if part)
