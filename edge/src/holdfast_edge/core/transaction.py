"""Transaction: how a site gets from the target it has to the newest one, or back.

    preparing -> applying -> verifying -> (soak) -> stable, which makes it last-good
        |            |__________|
        |            +-> rolling-back -> rolled-back | stuck   there is a last-good target to go back to
        |            +-> degraded -> verifying                 there is none: it goes on trying
        +-> rejected                                           nothing was begun

Pure: `prepared` and `looked` take what one turn of the loop knows and return the transaction after it. Back is gone once
at most, and forward again only to another target or when a person says so: nothing flips. Times are seconds, counted
from look to look, so that neither a clock nor a restart makes or ends a deadline. [inv: newer-target-cancels-retries]
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire.messages import Cause
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Target

UNSEEN: Final = 60.0  # seconds that count at most between two looks: a machine asleep used up no deadline
RESTART: Final = 10.0  # seconds that a start of the agent counts for: a loop of restarts ends too
MAX_RESTARTS: Final = 10  # that interrupted a change or the machine, before the target is blamed

Stage = Literal[
    "preparing", "applying", "verifying", "stable", "degraded", "rolling-back", "rolled-back", "stuck", "rejected"
]
FORWARD: Final[frozenset[Stage]] = frozenset({"applying", "verifying", "stable", "degraded"})
BACK: Final[frozenset[Stage]] = frozenset({"rolling-back", "rolled-back", "stuck", "rejected"})
ENDED: Final[frozenset[Stage]] = frozenset({"stable", "rolled-back", "rejected"})  # looks change nothing any more


class Limits(msgspec.Struct, frozen=True):
    """Deadlines of the phases in seconds; `rollback`: whether a target that fails is gone back from."""

    prepare: float = 3600.0
    progress: float = 600.0  # for one resource, where it does not say progressDeadlineSeconds itself
    soak: float = 60.0
    rollback: bool = True


class Transaction(msgspec.Struct, frozen=True):
    """The way of one target. `pending` counts how long each resource kept it from its end; `soaked` is None unless
    everything was as wanted and ready at the last look."""

    epoch: int = 0
    generation: int = 0
    digest: str = ""
    what: str = ""  # digest of the resources alone: holds and windows are no other change
    stage: Stage = "preparing"
    spent: float = 0.0  # in this stage
    soaked: float | None = None
    pending: dict[str, float] = {}
    restarts: int = 0
    counted_at: float = 0.0  # since boot
    boot_id: str = ""
    cause: Cause | None = None  # why it goes or went no further
    second: Cause | None = None  # why going back does not work either


class Now(msgspec.Struct, frozen=True):
    """`at` in seconds since the boot named; `protects`: another target is last-good, so there is something to lose."""

    at: float
    boot_id: str
    limits: Limits
    protects: bool

    @property
    def can_go_back(self) -> bool:
        return self.protects and self.limits.rollback


class Open(msgspec.Struct, frozen=True):
    """What keeps a resource from its end, and for how many seconds it may. `final`: nothing will change that."""

    cause: Cause
    limit: float
    final: bool = False


class Seen(msgspec.Struct, frozen=True):
    """One look at what the machine is brought to. `settled`: all that can be done here is as wanted and ready."""

    settled: bool
    open: Mapping[ResourceKey, Open] = {}  # of what had its turn
    waits: bool = False  # a person or a window says not now, which uses up no deadline


class Tried(msgspec.Struct, frozen=True):
    """What preparing came to so far: `refusal` is why it can never be applied, `trouble` what does not work yet."""

    done: bool
    refusal: Cause | None = None
    trouble: Cause | None = None
    waits: bool = False  # for its window


def begun(target: Target, now: Now) -> Transaction:
    """Return the transaction of a target that has just been accepted, or that is to be tried once more."""
    return Transaction(
        target.epoch, target.generation, target.digest, what_of(target), counted_at=now.at, boot_id=now.boot_id
    )


def followed(it: Transaction | None, target: Target, now: Now) -> Transaction:
    """Return the transaction of a newer target: that of the one before when only what surrounds the resources changed
    (a hold, a window), a new one otherwise. The very same content said again is somebody's "try it again"."""
    if it is None or it.digest == target.digest or it.what != what_of(target):
        return begun(target, now)
    return msgspec.structs.replace(it, epoch=target.epoch, generation=target.generation, digest=target.digest)


def what_of(target: Target) -> str:
    """Return the digest of what a target makes of the machine."""
    content = target.content
    return digests.digest({"resources": [each.digest for each in content.resources], "programs": content.programs})


def is_about(it: Transaction, target: Target) -> bool:
    return (it.epoch, it.generation, it.digest) == (*target.position, target.digest)


def resumed(it: Transaction, now: Now, *, interrupted: bool) -> Transaction:
    """Return the transaction after a start of the agent; `interrupted`: a change was begun and not ended."""
    if it.stage in ENDED:
        return it
    harmed = interrupted or it.boot_id != now.boot_id
    return msgspec.structs.replace(
        it,
        spent=it.spent + RESTART,
        soaked=None,
        pending={key: spent + RESTART for key, spent in it.pending.items()},
        restarts=it.restarts + harmed,
        counted_at=now.at,
        boot_id=now.boot_id,
    )


def prepared(it: Transaction, tried: Tried, now: Now) -> Transaction:
    """Return the transaction after a look at what was tried. Without a last-good target there is nothing to protect:
    what can be done is done at once, as it comes."""
    if it.stage != "preparing":
        return it
    if not now.protects:
        return _entered(it, "applying")
    spent = it.spent + (0.0 if tried.waits else _since(it, now))
    it = msgspec.structs.replace(it, spent=spent, counted_at=now.at, boot_id=now.boot_id, cause=tried.trouble)
    late = tried.trouble if spent >= now.limits.prepare else None
    if not tried.done and spent >= now.limits.prepare and late is None:
        late = Cause("prepare", "", "Deadline", f"not prepared within {now.limits.prepare:g} s")
    if now.can_go_back and (why := tried.refusal or late):
        return _entered(it, "rejected", cause=why)
    if tried.done or late is not None:
        return _entered(it, "applying")
    return it


def looked(it: Transaction, seen: Seen, now: Now) -> Transaction:
    """Return the transaction after a look at the machine; `it` itself when nothing counts any more."""
    if it.stage in ENDED or it.stage == "preparing" or (it.stage in ("degraded", "stuck") and not seen.settled):
        return it
    since = 0.0 if seen.waits else _since(it, now)
    pending = dict(it.pending)
    for key in seen.open:
        pending[key] = it.pending.get(key, 0.0) + since
    soaked = None if not seen.settled else 0.0 if it.soaked is None else it.soaked + _since(it, now)
    it = msgspec.structs.replace(
        it, spent=it.spent + since, soaked=soaked, pending=pending, counted_at=now.at, boot_id=now.boot_id
    )
    failure = _failure(it, seen, now.limits)
    match it.stage:
        case "rolling-back" | "stuck" if seen.settled:
            return _entered(it, "rolled-back", cause=it.cause)
        case "rolling-back" if failure is not None:
            return _entered(it, "stuck", cause=it.cause, second=failure)
        case "verifying" if soaked is not None and soaked >= now.limits.soak:
            return _entered(it, "stable")
        case "applying" | "verifying" if failure is not None and now.can_go_back:
            return _entered(it, "rolling-back", cause=failure)
        case "applying" | "verifying" if failure is not None:
            return _entered(it, "degraded", cause=failure)
        case "applying" | "degraded" if seen.settled:
            return msgspec.structs.replace(_entered(it, "verifying"), soaked=0.0, restarts=it.restarts)
        case _:
            return it


def again_in(it: Transaction, now: Now) -> float | None:
    """Return in how many seconds time alone could change something; None when only news can."""
    match it.stage:
        case "preparing":
            return max(now.limits.prepare - it.spent, 0.0)
        case "verifying" if it.soaked is not None:
            return max(now.limits.soak - it.soaked, 0.0)
        case _:
            return None


def _since(it: Transaction, now: Now) -> float:
    return min(max(now.at - it.counted_at, 0.0), UNSEEN) if it.boot_id == now.boot_id else 0.0


def _entered(it: Transaction, stage: Stage, *, cause: Cause | None = None, second: Cause | None = None) -> Transaction:
    return Transaction(
        it.epoch,
        it.generation,
        it.digest,
        it.what,
        stage,
        counted_at=it.counted_at,
        boot_id=it.boot_id,
        cause=cause,
        second=second,
    )


def _failure(it: Transaction, seen: Seen, limits: Limits) -> Cause | None:
    """Return why it can go no further: what failed for good first, then what took too long, each by key."""
    for key in sorted(seen.open):
        if seen.open[key].final:
            return seen.open[key].cause
    for key in sorted(seen.open):
        this = seen.open[key]
        if it.pending[key] >= this.limit:
            why = f"not as wanted and ready within {this.limit:g} s; {this.cause.message}".rstrip("; ")
            return msgspec.structs.replace(this.cause, message=why)
    if it.stage == "verifying" and it.spent >= limits.soak + limits.progress:
        text = f"not steady for {limits.soak:g} s within {limits.soak + limits.progress:g} s"
        return Cause("verify", next(iter(sorted(it.pending)), ""), "Unsteady", text)
    if it.restarts >= MAX_RESTARTS:
        return Cause("apply", "", "RestartLoop", f"the machine or a change was interrupted {it.restarts} times")
    return None
