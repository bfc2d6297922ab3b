"""Trial: changes that may cut the way to the hub stay only when the way was tried after them.

One trial holds all such changes that are made while it lasts; each starts the time anew, and all of them stay or all of
them go. Pure: times are seconds since boot; what was seen comes in as a `Sign`.
"""

from typing import Any, Literal

import msgspec

from holdfast_edge.core.diff import Owned
from holdfast_protocol.wire.names import ResourceKey

REASON = "RevertedByDeadMan"
SETTLES = 5.0  # seconds a change gets before the look around counts: networks take a moment
Way = Literal["address", "gateway", "answer"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`within_s`: how long the hub, or the local check, may be out of reach after a change. `local`: what must be as
    before when there was no hub to reach: an address of ours, a gateway that is there, a gateway that answers TCP."""

    within_s: float = 120.0
    local: tuple[Way, ...] = ("address", "gateway")

    @property
    def guard_s(self) -> float:
        """When the guard goes back, if the agent, which may take a quarter as long for it, has not."""
        return self.within_s + min(max(self.within_s / 4, 5.0), 30.0)


class Changed(msgspec.Struct, frozen=True):
    """One change. `before`: what of it was ours and applied, None: nothing; `after` None: it was removed."""

    key: ResourceKey
    before: Owned | None
    after: dict[str, Any] | None
    digest: str  # of what was asked for, "" for a removal


class Trial(msgspec.Struct, frozen=True):
    id: str
    boot_id: str
    since: float  # the last of the changes
    hub: bool  # the hub was reached before the first
    around: tuple[str, ...]  # what was there before the first
    changes: tuple[Changed, ...] = ()
    cause: str = ""  # why it is, or was, gone back from; "": it is not

    def of(self, key: ResourceKey) -> Changed | None:
        return next((each for each in self.changes if each.key == key), None)


class Sign(msgspec.Struct, frozen=True):
    """What is seen `at` this moment: whether hub and broker answered after the last change, and what is around."""

    at: float
    heard_at: float | None
    connects: bool
    around: tuple[str, ...]


def joined(trial: Trial, change: Changed, at: float, boot_id: str) -> Trial | None:
    """Return the trial with one more change, None while others of it are still to be gone back from.

    One that makes a thing again what it was before leaves the one it undoes on trial until it is made: `without`. One
    that replaces all that could not be gone back from begins anew, before the same.
    """
    known = trial.of(change.key)
    if known is not None:
        change = msgspec.structs.replace(change, before=known.before)
    if undone(change):
        return msgspec.structs.replace(trial, since=at)
    others = tuple(each for each in trial.changes if each.key != change.key)
    if trial.cause and others:
        return None
    return msgspec.structs.replace(trial, changes=(*others, change), since=at, cause="", boot_id=boot_id)


def without(trial: Trial, key: ResourceKey, after: dict[str, Any] | None) -> Trial:
    """Return the trial without the change of that key, when what was made now is what was before it."""
    known = trial.of(key)
    if known is None or not undone(msgspec.structs.replace(known, after=after)):
        return trial
    return msgspec.structs.replace(trial, changes=tuple(each for each in trial.changes if each is not known))


def undone(change: Changed) -> bool:
    """Return whether a change leaves a thing as it was, so that there is nothing to try."""
    before = change.before
    if before is None or not before.digest:
        return before is None and change.after is None
    return change.after == before.body


def verdict(trial: Trial, sign: Sign, limits: Limits, boot_id: str) -> Literal["wait", "keep"] | str:
    """Return `wait`, `keep`, or why the changes have to go."""
    if trial.cause:
        return trial.cause
    if trial.boot_id != boot_id:
        return "the machine started again before the way to the hub was tried"
    spent = sign.at - trial.since
    if trial.hub:
        if sign.connects and sign.heard_at is not None and sign.heard_at > trial.since:
            return "keep"
        missing = "the hub did not answer" if sign.connects else "no connection to the hub could be made"
    else:
        gone = [each for each in limits.local if each in trial.around and each not in sign.around]
        if not gone and spent >= SETTLES:
            return "keep"
        missing = f"without a hub to reach, this was gone: {', '.join(gone)}"
    return f"{missing} for {limits.within_s:g} s" if spent >= limits.within_s else "wait"
