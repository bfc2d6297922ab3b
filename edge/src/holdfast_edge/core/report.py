"""Report: what a node says of itself, made from what it wants, sees and tried.

A status is new only when it says something other than the one before; the times inside stay with the condition that
began then. `observed_digest` equals the target's digest exactly when everything observed is as wanted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from holdfast_edge.core.attempts import Attempt
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.late import Decision
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.steps import Create, Gated, Held, Remove, Restart, Step, Update, Wait
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.messages import (
    GONE_BACK,
    BridgeStatus,
    Condition,
    ConditionType,
    GateStatus,
    Hold,
    InstanceStatus,
    Override,
    Progress,
    RebootStatus,
    ResourceStatus,
    Status,
)
from holdfast_protocol.wire.names import FleetName, NodeName, ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource, Target

PATIENCE: Final = 3  # transient failures in a row before a resource counts as degraded
MAX_BYTES: Final = 640 * 1024  # of an encoded status: base64 and envelope stay below the topic's limit
MAX_PROBLEMS: Final = 100
MAX_TEXT: Final = 300  # characters of one condition's message
_BY_URGENCY: Final[tuple[ConditionType, ...]] = (
    "Failed",
    "Degraded",
    "Unsupported",
    "Held",
    "Removing",
    "Progressing",
    "Waiting",
    "Ready",
)

State = Literal["Converged", "Progressing", "Held", "Degraded", "NoTarget"]


class Origin(msgspec.Struct, frozen=True):
    """Who speaks, and in which boot."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    boot_id: str


class Picture(msgspec.Struct, frozen=True):
    """Everything a status is made from. `blind` are keys whose provider could not look, with what it said.

    `target` is the newest; `held` is the one the machine is brought to, which `wanted` and all below speak of; `apart`
    are the conditions of what only the newest wants.
    """

    target: Target | None
    held: Target | None
    wanted: Mapping[ResourceKey, Resource]
    observed: Mapping[ResourceKey, Observed]
    owned: Mapping[ResourceKey, Owned]
    plan: tuple[Step, ...]
    attempts: Mapping[ResourceKey, Attempt]
    holds: tuple[Hold, ...] = ()
    running: frozenset[ResourceKey] = frozenset()
    blind: Mapping[ResourceKey, Condition] = {}
    problems: tuple[str, ...] = ()
    last_good: str = ""
    progress: Progress | None = None
    apart: Mapping[ResourceKey, Condition] = {}
    gates: tuple[GateStatus, ...] = ()
    decision: Decision | None = None  # what of `wanted` this site decides; None: the target says it all
    instances: tuple[InstanceStatus, ...] = ()  # that are evaluated here
    overrides: tuple[Override, ...] = ()
    overridden: Mapping[ResourceKey, Override] = {}  # by those in effect
    bridges: tuple[BridgeStatus, ...] = ()
    reboot: RebootStatus | None = None


def status(picture: Picture, origin: Origin, previous: Status | None, *, at: int, sequence: int) -> Status:
    """Return the status now; `at` in milliseconds since 1970. It is `previous` itself when nothing new is to be said."""
    resources = _resources(picture, previous, at)
    counts = Counter(entry.condition.type for entry in resources)
    target = picture.target
    made = Status(
        fleet=origin.fleet,
        site=origin.site,
        node=origin.node,
        boot_id=origin.boot_id,
        sequence=sequence,
        at=at,
        state=_state(target, counts, picture.progress),
        epoch=target.epoch if target else 0,
        generation=target.generation if target else 0,
        digest=target.digest if target else "",
        observed_digest=observed_digest(picture) if target else "",
        last_good=picture.last_good,
        resources=resources,
        counts=dict(sorted(counts.items())),
        holds=picture.holds,
        problems=picture.problems,
        progress=picture.progress,
        gates=picture.gates,
        instances=picture.instances,
        overrides=picture.overrides,
        bridges=picture.bridges,
        reboot=picture.reboot,
    )
    if previous is not None and not says_something_new(previous, made):
        return previous
    return fitted(made)


def says_something_new(previous: Status, made: Status) -> bool:
    """Return whether `made` differs in more than when it was made."""
    same_time = msgspec.structs.replace(made, sequence=previous.sequence, at=previous.at)
    return same_time != previous and fitted(same_time) != previous


def observed_digest(picture: Picture) -> str:
    """Return the target's digest when everything is as it says, another one for every other state of things."""
    target = picture.target
    assert target is not None
    differing = {
        key: list(seen.differences) if (seen := picture.observed.get(key)) and seen.exists else None
        for key in picture.wanted
        if (seen := picture.observed.get(key)) is None or not seen.as_wanted
    }
    unwanted = sorted(key for key in picture.owned if key not in picture.wanted)
    if picture.decision is not None:
        unwanted += sorted({*picture.decision.kept, *picture.decision.rows})  # nobody can say yet how it should be
    held = picture.held.digest if picture.held is not None else ""
    if not differing and not unwanted and held == target.digest:
        return target.digest
    apart = {} if held == target.digest else {"held": held}
    return digests.digest({"target": target.digest, "differing": differing, "unwanted": unwanted, **apart})


def fitted(made: Status, limit: int = MAX_BYTES) -> Status:
    """Return the status with as many resources as fit, the urgent ones kept; `counts` still count them all."""
    if len(strict.encode(made.instances)) > limit // 2:
        bare = tuple(msgspec.structs.replace(each, status={}, conditions=()) for each in made.instances)
        made = msgspec.structs.replace(made, instances=bare)
    while len(made.resources) > 1 and len(strict.encode(made)) > limit:
        urgent = sorted(made.resources, key=lambda entry: (_BY_URGENCY.index(entry.condition.type), entry.key))
        kept = urgent[: len(urgent) * 3 // 4]
        made = msgspec.structs.replace(made, resources=tuple(sorted(kept, key=lambda entry: entry.key)))
    if len(strict.encode(made)) > limit:  # long holds; the node itself still lists them
        made = msgspec.structs.replace(made, holds=(), problems=made.problems[:MAX_PROBLEMS])
    return made


def _state(target: Target | None, counts: Mapping[ConditionType, int], progress: Progress | None) -> State:
    gone_back = progress is not None and progress.phase in GONE_BACK
    if gone_back or any(counts.get(kind) for kind in ("Failed", "Degraded", "Unsupported")):
        return "Degraded"
    if counts.get("Held"):
        return "Held"
    preparing = progress is not None and progress.phase == "preparing"  # also when it only takes things away
    if preparing or any(counts.get(kind) for kind in ("Progressing", "Waiting", "Removing")):
        return "Progressing"
    return "Converged" if target else "NoTarget"


def _resources(picture: Picture, previous: Status | None, at: int) -> tuple[ResourceStatus, ...]:
    if picture.target is None:
        return ()  # what is owned stays as it is until a target says otherwise
    before = {entry.key: entry.condition for entry in previous.resources} if previous else {}
    planned = {step.key: step for step in picture.plan}
    found = []
    keys = {*picture.wanted, *picture.owned} if picture.held is not None else set()
    for key in sorted(keys | picture.apart.keys()):
        condition = picture.apart.get(key) or _condition(key, picture, planned.get(key))
        old = before.get(key)
        since = old.since if old and (old.type, old.reason) == (condition.type, condition.reason) else at
        wanted, owned = picture.wanted.get(key), picture.owned.get(key)
        found.append(
            ResourceStatus(
                key=key,
                condition=msgspec.structs.replace(condition, since=since, message=condition.message[:MAX_TEXT]),
                digest=owned.digest if owned else "",
                instance=wanted.instance if wanted else "",
            )
        )
    for key, row in sorted(picture.decision.rows.items()) if picture.decision is not None else ():
        old = before.get(key)
        same = old is not None and (old.type, old.reason) == (row.condition.type, row.condition.reason)
        since = old.since if old is not None and same else at
        found.append(ResourceStatus(key, msgspec.structs.replace(row.condition, since=since), instance=row.instance))
    return tuple(found)


def _condition(key: ResourceKey, picture: Picture, step: Step | None) -> Condition:
    if key in picture.blind and key in picture.wanted:
        return picture.blind[key]
    wanted = picture.wanted.get(key)
    attempt = picture.attempts.get(key)
    if attempt is not None and attempt.digest != (wanted.digest if wanted else ""):
        attempt = None
    seen = picture.observed.get(key)
    if wanted is not None and seen is not None and seen.as_wanted:
        kept = picture.decision.kept.get(key) if picture.decision is not None else None
        settled = kept if kept is not None and seen.readiness == "ready" else _settled(seen)
        return _overridden(settled, picture.overridden.get(key))
    if isinstance(step, Held):
        return Condition("Held", "Hold", f"{step.hold}: {step.reason}")
    troubled = attempt is not None and (attempt.final or attempt.count >= PATIENCE)
    if isinstance(step, Gated) and not troubled:
        return Condition("Waiting", step.reason, f"{'removal: ' if step.removing else ''}{step.gate}: {step.message}")
    if attempt is not None and attempt.outcome != "done":
        return _failing(attempt, removing=wanted is None)
    if wanted is None:
        return Condition("Removing", "WaitsForDependents" if isinstance(step, Wait) else "NotWanted", _waiting(step))
    match step:
        case Wait():
            return Condition("Waiting", "Dependency", _waiting(step))
        case Create() | Update() if key in picture.running:
            return Condition("Progressing", "Applying", "; ".join(seen.differences if seen else ()))
        case Create():
            return Condition("Progressing", "Missing")
        case Update(_, differences):
            return Condition("Progressing", "Differs", "; ".join(differences))
        case Held() | Gated() | Remove() | Restart() | None:
            return Condition("Progressing", "NotLookedAt")


def _overridden(condition: Condition, override: Override | None) -> Condition:
    if override is None or condition.type != "Ready":
        return condition
    return Condition("Ready", "Overridden", f"{override.id} by {override.by}: {override.reason}")


def _waiting(step: Step | None) -> str:
    return f"waits for {', '.join(step.on)}" if isinstance(step, Wait) else ""


def _settled(seen: Observed) -> Condition:
    match seen.readiness:
        case "ready":
            return Condition("Ready", seen.reason or "AsWanted", seen.message)
        case "progressing":
            return Condition("Progressing", seen.reason or "Starting", seen.message)
        case "degraded":
            return Condition("Degraded", seen.reason or "Unhealthy", seen.message, hint=seen.hint)


def _failing(attempt: Attempt, *, removing: bool) -> Condition:
    kind: ConditionType
    match attempt.outcome:
        case "unsupported":
            kind = "Unsupported"
        case "permanent":
            kind = "Failed"
        case _ if attempt.count >= PATIENCE:
            kind = "Degraded"
        case _:
            kind = "Removing" if removing else "Progressing"
    return Condition(kind, attempt.reason, attempt.message, hint=attempt.hint)
