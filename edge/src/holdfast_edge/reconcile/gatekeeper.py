"""Gatekeeper: which changes of a plan may begin now, by the windows of the newest target and by whoever says "not now".

Windows are judged by the node's clock, bounded by its floor. Going back to the last good target passes every gate: what
an opening began is not left broken because the opening is over.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.abc
import msgspec

from holdfast_edge.core import deferral, gates, missed
from holdfast_edge.core.deferral import Ask, Deferral, NotNow
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.missed import Misses
from holdfast_edge.core.steps import Gated, Held, Remove, Restart, Step, Wait, Work, digest_of
from holdfast_edge.core.windows import NO_ZONE, Placed, Standing, Verdict, gate_statuses, next_change, standing
from holdfast_edge.reconcile import questions
from holdfast_edge.reconcile.asker import FRESH, Asker
from holdfast_edge.store.chances import Chances
from holdfast_protocol.calendar.durations import written
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.messages import GateStatus, Quality
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, Target
from holdfast_protocol.wire.windows import carried

JUMP: Final = (
    3600.0  # seconds the wall clock may run ahead of the time since boot before openings in between do not count
)
AGAIN: Final = 3600.0  # seconds after which a window that never opens is looked at again


class Gatekeeper:
    def __init__(
        self,
        chances: Chances,
        asker: Asker,
        settings: NotNow,
        quality: Callable[[], Quality],
        local_zone: Callable[[], str] = zones.local_name,
    ) -> None:
        """`quality` says whether the wall clock may be believed; `local_zone` names the machine's own zone."""
        self._chances = chances
        self._asker = asker
        self._settings = settings
        self._quality = quality
        self._local_zone = local_zone
        self._target: Target | None = None
        self._default = ""  # the zone of windows that name none
        self._whole = False
        self._placed: tuple[Placed, ...] = ()
        self._memo: dict[str, tuple[Misses, float, Standing]] = {}
        self._seen: tuple[float, float] | None = None  # wall and boot time of the last count
        self._standings: tuple[Standing, ...] = ()
        self._asked = False

    @property
    def trusted(self) -> bool:
        return self._quality() != "floor"

    def judge(
        self, target: Target, plan: Sequence[Step], owned: Mapping[ResourceKey, Owned], now: Moment, *, whole: bool
    ) -> None:
        """Learn how the windows of the newest target stand. `whole`: the plan holds all there is to do."""
        self._place(target)
        self._whole = whole
        self._count(plan, owned, now, whole=whole)
        self._standings = tuple(self._standing(each, now.wall) for each in self._placed)

    def windowed(
        self, plan: Sequence[Step], owned: Mapping[ResourceKey, Owned], now: Moment, *, back: bool
    ) -> tuple[tuple[Step, ...], dict[ResourceKey, float]]:
        """Return the plan with what windows keep back, and until when the rest may begin, in seconds since boot.

        `back`: the plan goes back to the last good target."""
        steps, ends = gates.gated(plan, self._standings, owned, trusted=self.trusted, back=back)
        return steps, {key: now.boottime + end - now.wall for key, end in ends.items()}

    async def deferred(
        self,
        group: anyio.abc.TaskGroup,
        plan: Sequence[Step],
        ready: Sequence[Work],
        owned: Mapping[ResourceKey, Owned],
        now: Moment,
    ) -> tuple[Step, ...]:
        """Return the plan with those of its `ready` changes kept back that somebody says "not now" to."""
        notes: tuple[questions.Note, ...] = ()
        if ready and self._settings.folder:
            notes = await self._asker.notes(Path(self._settings.folder))
        there = {step.key for step in plan}
        kept = {key: each for key, each in self._chances.deferrals.items() if key in there or not self._whole}
        refusals: dict[ResourceKey, tuple[str, int | None]] = {}
        alarms: list[dict[str, Any]] = []
        self._asked = False
        for change in ready:
            found = self._refusal(group, change, notes)
            if found is None:
                continue
            ask, reason = found
            if not reason:
                refusals[change.key] = (deferral.ASKS, None)
                continue
            held = kept.get(change.key)
            if held is None or held.digest != digest_of(change):
                held = deferral.begun(change.key, digest_of(change), ask, reason, now)
            refusal, held = _heard(held, now, alarms)
            kept[change.key] = held
            if refusal is not None:
                refusals[change.key] = refusal
        self._chances.set_deferrals(kept, alarms)
        self._asked = bool(refusals)
        return gates.deferred(plan, refusals, owned)

    def _refusal(
        self, group: anyio.abc.TaskGroup, change: Work, notes: Sequence[questions.Note]
    ) -> tuple[Ask, str] | None:
        """Return who refuses a change and why ("": not known yet); None when nobody does."""
        limit = self._settings.at_most_s
        for note in notes:
            if not note.resources or change.key in note.resources or isinstance(change, Restart):
                return Ask("file", (note.name,), limit), note.reason
        for key, body in _asked(change):
            try:
                ask = deferral.ask_of(body, limit)
            except WireError as error:
                return Ask("file", ("",), limit), error.message
            if ask is None:
                continue
            said = self._asker.answer(group, key, ask)
            if said != "":
                return ask, said or ""
        return None

    def _place(self, target: Target) -> None:
        default = target.content.time_zone or self._local_zone()
        if self._target is target and self._default == default:
            return
        found: list[Placed] = []
        for entry in target.content.windows:
            window = carried(entry)
            name = window.time_zone or default
            found.append(Placed(window, name, zones.zone(name)))
        self._target, self._default, self._placed, self._memo = target, default, tuple(found), {}

    def _standing(self, placed: Placed, at: float) -> Standing:
        name = placed.window.name
        misses = self._chances.misses.get(name, missed.NONE)
        if (memo := self._memo.get(name)) is not None:
            known, since, made = memo
            end = made.until if made.until is not None else since + AGAIN
            if known == misses and since <= at < end:
                return made
        made = standing(placed, misses, at)
        self._memo[name] = (misses, at, made)
        return made

    def _count(self, plan: Sequence[Step], owned: Mapping[ResourceKey, Owned], now: Moment, *, whole: bool) -> None:
        before, self._seen = self._seen, (now.wall, now.boottime)
        if not self.trusted:
            self._seen = None
            return
        jumps = before is not None and abs(now.wall - before[0] - (now.boottime - before[1])) > JUMP
        rests = whole and not any(isinstance(step, Held | Wait | Gated) for step in plan)
        made: dict[str, Misses] = {}
        alarms: list[dict[str, Any]] = []
        for placed in self._placed:
            window, held = placed.window, self._chances.misses.get(placed.window.name, missed.NONE)
            if jumps:
                held = missed.jumped(held, int(now.wall))
            due = any(
                isinstance(step, Work)
                and gates.gate_of(step, owned) in window.gates
                and window.match.covers(step.key, gates.instance_of(step, owned))
                for step in plan
            )
            counted = held
            if due or rests:
                counted = missed.counted(held, window, placed.zone, due=due, now=int(now.wall))
            if missed.is_over(window.missed, counted) and not counted.said:
                counted = msgspec.structs.replace(counted, said=True)
                alarms.append(_missed(placed, counted))
            if counted != missed.NONE:
                made[window.name] = counted
        self._chances.set_misses(made, alarms)

    async def save(self, now: Moment) -> None:
        """Write what was counted and heard. Raises TransientError when the disk refuses."""
        await self._chances.save(at=int(now.wall * 1000))

    def next_judgement(self, now: Moment) -> float | None:
        """Return in how many seconds time alone changes what may begin; None when only news can."""
        waits = [FRESH] if self._asked else []
        waits += [deferral.remaining(each, now) for each in self._chances.deferrals.values() if self._asked]
        change = next_change(self._standings)
        if change is not None:
            waits.append(change - now.wall)
        return min((wait for wait in waits if wait > 0), default=None)

    def may_download(self, resource: Resource) -> Verdict:
        """Return whether what a resource needs may be fetched now, as of the last look."""
        return gates.may_download(self._standings, resource, trusted=self.trusted)

    def shut(self, resource: Resource) -> str:
        """Return why nothing may be fetched for a resource now, "" when it may."""
        found = self.may_download(resource)
        return "" if found.open else found.message

    def statuses(self) -> tuple[GateStatus, ...]:
        return gate_statuses(self._standings, trusted=self.trusted)

    def problems(self) -> tuple[str, ...]:
        """Return what a person should look at: openings missed too often, zones this machine does not know."""
        found = [_words(each, misses) for each, misses in self._over()]
        zoneless = [each for each in self._placed if each.zone is None]
        return (*found, *(NO_ZONE.format(name=each.window.name, zone=each.zone_name) for each in zoneless))

    def _over(self) -> list[tuple[Placed, Misses]]:
        pairs = [(each, self._chances.misses.get(each.window.name, missed.NONE)) for each in self._placed]
        return [(each, misses) for each, misses in pairs if missed.is_over(each.window.missed, misses)]


def _asked(change: Work) -> tuple[tuple[ResourceKey, dict[str, Any]], ...]:
    """Return the bodies that may name somebody to ask: a restart is a change of all there is."""
    if isinstance(change, Restart):
        return change.asks
    return ((change.key, change.body if isinstance(change, Remove) else change.resource.body),)


def _heard(held: Deferral, now: Moment, alarms: list[dict[str, Any]]) -> tuple[tuple[str, int | None] | None, Deferral]:
    """Return what keeps a change back (None: nothing any more) and the wait as it is kept."""
    if deferral.remaining(held, now) > 0:
        lasts = f"{held.reason} (heard for {written(held.seconds)} at most)"
        return (lasts, held.until // 1000), held
    if held.then == "go":
        return None, held
    if not held.said:
        held = msgspec.structs.replace(held, said=True)
        text = f"{held.key} has been asked to wait for {written(held.seconds)}, and waits on: {held.reason}"
        alarms.append({"reason": "NotNowTooLong", "resource": held.key, "message": text})
    return (f"{held.reason} (for longer than {written(held.seconds)})", None), held


def _missed(placed: Placed, misses: Misses) -> dict[str, Any]:
    return {
        "reason": "WindowsMissed",
        "window": placed.window.name,
        "count": misses.count,
        "message": _words(placed, misses),
    }


def _words(placed: Placed, misses: Misses) -> str:
    wanted = placed.window.missed
    then = {
        "alert": "",
        "widen": f"; it is {wanted.by if wanted else ''} longer now",
        "force": "; it counts as open now",
    }
    text = then[wanted.then] if wanted is not None else ""
    return f"window {placed.window.name} passed {misses.count} times with changes due{text}"
