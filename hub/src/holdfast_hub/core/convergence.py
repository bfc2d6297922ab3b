"""Judge how far a site is, from what it should be and what its nodes said.

Rules, first match wins: ahead of us is `Conflict`; never heard of is `NeverSeen`; no node online is `Offline`; nothing
wanted and nothing held is `NoTarget`; another target than ours held is `Pending` (`Failed` when it was refused); then
the node's own word. A site is as far as its worst node, an instance as its worst site.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from holdfast_protocol.wire.messages import GONE_BACK, REFUSED, Progress, ResourceStatus, Status

State = Literal[
    "Conflict", "Failed", "Degraded", "Offline", "NeverSeen", "Pending", "Applying", "NoTarget", "Converged"
]

WORST_FIRST: Final[tuple[State, ...]] = (
    "Conflict",
    "Failed",
    "Degraded",
    "Offline",
    "NeverSeen",
    "Pending",
    "Applying",
    "NoTarget",
    "Converged",
)
SILENCE: Final = 40 * 60 * 1000  # milliseconds without a word (hello comes every 15 min) after which a node is offline


class Desired(msgspec.Struct, frozen=True):
    """The newest target of a site; all zero when it has none."""

    epoch: int = 0
    generation: int = 0
    digest: str = ""
    conflict: bool = False


class Reported(msgspec.Struct, frozen=True):
    """One node as last heard of; `seen_at` in milliseconds, 0 for never."""

    online: bool
    seen_at: int
    epoch: int
    generation: int
    digest: str
    status: Status | None


class Judgement(msgspec.Struct, frozen=True):
    state: State
    message: str = ""


def is_ahead(desired: Desired, floor: int, held: tuple[int, int], digest: str) -> bool:
    """Return whether a site holds what this hub never told it: our own copy is an old one.

    `floor` is the last generation given out to this site's name; `held` is (epoch, generation).
    """
    if desired.generation == 0:
        return held[1] > floor
    position = (desired.epoch, desired.generation)
    return held > position or (held == position and digest != desired.digest)


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """Return the judgement that matters most; Converged when there is none."""
    return min(judgements, key=lambda each: WORST_FIRST.index(each.state), default=Judgement("Converged"))


def is_online(node: Reported, now: int) -> bool:
    """Return whether a node may be taken for connected: the broker said so, and it spoke lately."""
    return node.online and (node.seen_at == 0 or now - node.seen_at < SILENCE)


def site_judgement(desired: Desired, nodes: Sequence[Reported], now: int) -> Judgement:
    """Return how far a site is at `now` (milliseconds)."""
    if desired.conflict:
        return Judgement("Conflict", "the site holds a newer target than this hub knows")
    if not any(node.seen_at or node.online for node in nodes):
        return Judgement("NeverSeen", "no node has connected yet")
    return worst(_node_judgement(desired, node, now) for node in nodes if node.seen_at or node.online)


def _node_judgement(desired: Desired, node: Reported, now: int) -> Judgement:
    if not is_online(node, now):
        return Judgement("Offline", f"last state: {_held_judgement(desired, node).state}")
    return _held_judgement(desired, node)


def _held_judgement(desired: Desired, node: Reported) -> Judgement:
    if desired.generation == 0:
        return Judgement("NoTarget") if node.generation == 0 else Judgement("Pending", "holds a target, none is wanted")
    status = node.status
    said = status.problems if status is not None else ()
    refusal = next((each for each in said if each.startswith(REFUSED)), "")  # any other trouble does not keep it away
    if (node.epoch, node.generation, node.digest) != (desired.epoch, desired.generation, desired.digest):
        return Judgement("Failed", refusal) if refusal else Judgement("Pending", "has not taken the newest target yet")
    if status is None or status.digest != desired.digest:
        return Judgement("Applying", "has the newest target, says nothing of it yet")
    if status.progress is not None and status.progress.phase in GONE_BACK:
        return Judgement("Failed", gone_back(status.progress))
    bad = worst(_resource_judgement(each) for each in status.resources)
    if bad.state in ("Failed", "Degraded"):
        return bad
    match status.state:
        case "Converged" if status.observed_digest == desired.digest:
            return Judgement("Converged")
        case "Degraded":
            return Judgement("Degraded", said[0] if said else "")
        case "Held":
            return Judgement("Applying", "held: somebody said to leave it alone")
        case _:
            return Judgement("Applying")


def instance_judgement(
    desired: Desired,
    nodes: Sequence[Reported],
    instance: str,
    wanted: frozenset[str],
    now: int,
    *,
    decides: bool = False,
) -> Judgement:
    """Return how far one instance is at one site: the site's judgement, or better when only others hold it back.

    `wanted` are the keys of the instance's resources in the desired target; `decides`: its sites decide more of them.
    """
    whole = site_judgement(desired, nodes, now)
    if whole.state not in ("Failed", "Degraded", "Applying"):
        return whole
    return worst(_part(desired, node, instance, wanted, now, decides) for node in nodes if node.seen_at or node.online)


def _part(
    desired: Desired, node: Reported, instance: str, wanted: frozenset[str], now: int, decides: bool
) -> Judgement:
    whole = _node_judgement(desired, node, now)
    status = node.status
    if whole.state not in ("Failed", "Degraded", "Applying") or status is None or status.digest != desired.digest:
        return whole
    if (node.epoch, node.generation, node.digest) != (desired.epoch, desired.generation, desired.digest):
        return whole
    own = [each for each in status.resources if each.instance == instance]
    counted = (each for each in own if decides or each.key in wanted or each.condition.type == "Removing")
    found = [_resource_judgement(each) for each in counted]
    if wanted - {each.key for each in own}:
        found.append(Judgement("Applying"))
    return worst(found)


def gone_back(progress: Progress) -> str:
    """Return what a person should know of a target that a site goes or went back from: where it is, and why."""
    words = {"rejected": "rejected", "rolling-back": "going back", "stuck": "going back does not work"}
    head = f"{words.get(progress.phase, 'rolled back')}, kept at generation {progress.held}"
    causes = (progress.cause, progress.second) if progress.phase == "stuck" else (progress.cause,)
    said = [
        ": ".join(part for part in (f"{cause.phase} {cause.resource}".strip(), cause.reason, cause.message) if part)
        for cause in causes
        if cause is not None
    ]
    return ": ".join((head, "; ".join(said))) if said else head


def _resource_judgement(resource: ResourceStatus) -> Judgement:
    match resource.condition.type:
        case "Ready":
            return Judgement("Converged")
        case "Failed":
            return Judgement("Failed", _words(resource))
        case "Degraded" | "Unsupported":
            return Judgement("Degraded", _words(resource))
        case _:
            return Judgement("Applying", _words(resource))


def _words(resource: ResourceStatus) -> str:
    condition = resource.condition
    return ": ".join(part for part in (resource.key, condition.reason, condition.message) if part)
