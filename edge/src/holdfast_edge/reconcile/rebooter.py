"""Rebooter: sees whether the machine needs a restart, announces it, begins it when nothing speaks against it any more, and
says afterwards what came of it.

A restart is a step beside the plan, which passes holds, the gate `reboots` and "not now" like every change, and waits for
whatever is under way. [inv: intent-before-effect] It is counted on disk before systemd is asked.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import msgspec

from holdfast_edge.core import deferral, reboots
from holdfast_edge.core.attempts import Attempt
from holdfast_edge.core.holds import Moment, left
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.reboots import Ground, Request, Wish
from holdfast_edge.core.steps import Gated, Held, Restart, Step
from holdfast_edge.store.reboots import Reboots, Telling
from holdfast_protocol.errors import ConflictError, MisuseError, ProviderError
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.messages import Hold, RebootStatus
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.reboots import KEY, MAX_REASON, MAX_SECONDS, Policy, merged
from holdfast_protocol.wire.target import Resource, Target

GRACE: Final = 60.0  # seconds of warning where no policy says how many
MAX_REQUESTS: Final = 16  # made here
CLOSED: Final = "restarts are not open here"
HINT: Final = "say reboots = true in [providers] of edge.toml"


@dataclass(frozen=True)
class Restarting:
    """The machine, as far as restarts go. `allowed` by its settings; `announce` tells who looks there that it goes at a
    moment (ms since 1970) and why, None: that it does not; `flush` returns when what is to be sent is on the disk."""

    allowed: bool
    ground: Callable[[], Awaitable[Ground]]
    restart: Callable[[], Awaitable[None]]  # returns when it was asked for; raises ProviderError
    announce: Callable[[dict[str, object] | None], Awaitable[None]]
    flush: Callable[[], Awaitable[None]]


class Rebooter:
    def __init__(self, store: Reboots, machine: Restarting, now: Moment) -> None:
        self._store = store
        self._machine = machine
        self._policy: Policy | None = None
        self._wish = Wish()
        self._needs: tuple[reboots.Need, ...] = ()
        self._announced: float | None = None  # seconds since boot
        self._inherited = True  # there may be a notice of an agent that was ended
        self._step: Step | None = None
        self._fresh: reboots.Kept | None = reboots.started(store.kept, now)  # not written yet
        self._lock = anyio.Lock()  # from what is remembered to what will be

    async def look(
        self,
        target: Target,
        wanted: Mapping[ResourceKey, Resource],
        observed: Mapping[ResourceKey, Observed],
        attempts: Mapping[ResourceKey, Attempt],
        holds: Sequence[Hold],
        busy: str,
        now: Moment,
    ) -> Step | None:
        """Return the restart as a step to be judged, None when none is to be made. `busy`: what is under way that it must
        not cut. Raises TransientError when the disk refuses."""
        self._policy = merged(target.content.reboot_policies)
        ground = await self._machine.ground()
        self._needs = reboots.needs(ground, self._policy, wanted, observed, attempts, now.boot_id)
        async with self._lock:
            kept = reboots.followed(self._kept, target.content.reboot_requests, now)
            kept = reboots.looked(kept, self._needs, now)
            await self._keep(kept, now)
            self._wish = reboots.wish(kept, self._policy, self._needs, now)
            await self._tell_given_up(now)
        if not self._wish.go or not self._machine.allowed:
            return None
        if kept.going is not None:
            why = "what came of the last one is not known yet" if reboots.is_back(kept, now) else "the machine restarts"
            return Gated(KEY, "reboots", "Busy", why, None)
        if holds:
            return Held(KEY, holds[0].id, holds[0].reason)
        if busy:
            return Gated(KEY, "reboots", "Busy", busy, None)
        asks = tuple((key, each.body) for key, each in sorted(wanted.items()) if deferral.is_asked(each.body))
        return Restart(KEY, digest(list(self._wish.texts)), self._wish.texts, asks)

    async def turn(self, step: Step | None, *, still: bool, converged: bool, now: Moment) -> None:
        """Take the step as it was judged. `still`: nothing is under way; `converged`: everything is as wanted and ready.
        Raises TransientError when the disk refuses: then nothing was begun."""
        async with self._lock:
            await self._turn(step, still=still, converged=converged, now=now)

    async def _turn(self, step: Step | None, *, still: bool, converged: bool, now: Moment) -> None:
        kept = self._kept
        self._step = step
        if reboots.is_back(kept, now):
            await self._judge_return(converged, now)
        elif reboots.overdue(kept, now):
            await self._fail("it did not begin", now)
        elif kept.going is not None:
            return
        elif not isinstance(step, Restart):
            if not (isinstance(step, Gated) and step.message == deferral.ASKS):  # the answer comes in a moment
                await self._call_off(now)
        elif not still:
            return
        elif self._announced is None:
            await self._announce(now)
        elif now.boottime - self._announced >= self._grace:
            await self._go(now)

    async def ask(self, *, reason: str, seconds: float, by: str, now: Moment) -> Request:
        """Take a request made here. Raises MisuseError."""
        if not self._machine.allowed:
            raise MisuseError(CLOSED, reason="RebootsClosed", hint=HINT)
        if not reason.strip():
            raise MisuseError("a restart needs a reason", reason="NoReason")
        if not 0 < seconds <= MAX_SECONDS:
            raise MisuseError(f"a request stands more than 0 and at most {MAX_SECONDS} seconds", reason="BadDuration")
        async with self._lock:
            return await self._asked(reason, seconds, by, now)

    async def _asked(self, reason: str, seconds: float, by: str, now: Moment) -> Request:
        kept = self._kept
        if sum(not each.remote for each in reboots.standing(kept, now)) >= MAX_REQUESTS:
            raise ConflictError(f"there are {MAX_REQUESTS} requests already", reason="TooMany")
        until = int((now.wall + seconds) * 1000)
        made = Request(
            f"local-{until:x}-{len(kept.requests)}", reason[:MAX_REASON], by, until, seconds, now.boottime, now.boot_id
        )
        told = ("Audit", {"what": "RebootAsked", "reason": made.reason, "by": by, "until": until})
        await self._keep(msgspec.structs.replace(kept, requests=(*kept.requests, made)), now, told)
        return made

    async def withdraw(self, *, by: str, now: Moment) -> int:
        """Take back what was asked for here and is not begun; return how many requests that was."""
        async with self._lock:
            kept = self._kept
            gone = {each.id for each in reboots.standing(kept, now) if not each.remote}
            if gone:
                stay = tuple(each for each in kept.requests if each.id not in gone)
                told = ("Audit", {"what": "RebootWithdrawn", "requests": sorted(gone), "by": by})
                await self._keep(msgspec.structs.replace(kept, requests=stay), now, told)
            return len(gone)

    def status(self, now: Moment) -> RebootStatus | None:
        """Return what is to be said of restarts, None for nothing."""
        kept, wished, step = self._kept, self._wish, self._step
        if not wished.texts and not wished.given_up and kept.last is None:
            return None
        waits, until = wished.waits, 0
        if wished.go and not self._machine.allowed:
            waits = f"{CLOSED}: {HINT}"
        elif isinstance(step, Gated):
            waits, until = step.message, (step.until or 0) * 1000
        elif isinstance(step, Held):
            waits = f"held by {step.hold}: {step.reason}"
        elif wished.until is not None:
            until = int((self._wall(wished.until, now)) * 1000)
        since = [kept.since[each.cause] for each in wished.needs if each.cause in kept.since]
        asked = [each.until - int(each.seconds * 1000) for each in wished.requests]
        announced = 0 if self._announced is None else int(self._wall(self._announced + self._grace, now) * 1000)
        return RebootStatus(
            needed=wished.texts,
            since=min((*since, *asked), default=0),
            waits=waits,
            next=until,
            announced=announced,
            given_up=tuple(each.text for each in wished.given_up),
            last=kept.last,
        )

    def problem(self) -> str:
        """Return what a person should look at, "" for nothing."""
        over = "; ".join(each.text for each in self._wish.given_up)
        return f"restarts did not help: {over}" if over else ""

    def patience(self, now: Moment) -> float | None:
        """Return in how many seconds time alone could change what is to be done; None when only news can."""
        kept = self._kept
        waits = [left(each.boot_id, each.made_at, each.seconds, each.until, now) for each in self._wish.requests]
        if self._announced is not None:
            waits.append(self._announced + self._grace - now.boottime)
        if self._wish.until is not None:
            waits.append(self._wish.until - now.boottime)
        if kept.going is not None:
            begun = kept.going.began + reboots.BEGINS
            ends = kept.up_from + reboots.CONVERGES if reboots.is_back(kept, now) else begun
            waits.append(ends - now.boottime)
        return min((each for each in waits if each > 0), default=None)

    @property
    def _kept(self) -> reboots.Kept:
        return self._fresh or self._store.kept

    @property
    def _grace(self) -> float:
        return float(self._policy.grace) if self._policy is not None else GRACE

    def _wall(self, boottime: float, now: Moment) -> float:
        """Return a moment of this boot by the wall clock, to whole seconds, so that looks agree on it."""
        return float(round(boottime + now.wall - now.boottime))

    async def _keep(self, kept: reboots.Kept, now: Moment, *tell: Telling) -> None:
        await self._store.keep(kept, at=int(now.wall * 1000), tell=tell)
        self._fresh = None

    async def _announce(self, now: Moment) -> None:
        at = int((now.wall + self._grace) * 1000)
        body: dict[str, Any] = {"what": "RebootAnnounced", "causes": list(self._wish.texts), "goes": at}
        await self._keep(self._kept, now, ("Audit", body))
        await self._machine.announce({"at": at, "causes": list(self._wish.texts)})
        self._announced = now.boottime
        if self._grace <= 0:
            await self._go(now)

    async def _call_off(self, now: Moment) -> None:
        if self._announced is None:
            if self._inherited:
                await self._machine.announce(None)
                self._inherited = False
            return
        self._announced = None
        await self._machine.announce(None)
        why = self._step.message if isinstance(self._step, Gated) else "it may not begin any more"
        await self._keep(self._kept, now, ("Audit", {"what": "RebootCalledOff", "message": why}))

    async def _go(self, now: Moment) -> None:
        self._announced = None
        body: dict[str, Any] = {"what": "RebootBegun", "causes": list(self._wish.texts)}
        await self._keep(reboots.gone(self._kept, self._wish, now), now, ("Audit", body))
        try:
            await self._machine.flush()
            await self._machine.restart()
        except ProviderError as error:
            await self._fail(f"{error.reason}: {error.message}", now)

    async def _fail(self, why: str, now: Moment) -> None:
        alarm = {"reason": "RebootFailed", "resource": KEY, "message": why}
        await self._keep(reboots.failed(self._kept, why, now), now, ("Alarm", alarm))
        await self._machine.announce(None)

    async def _judge_return(self, converged: bool, now: Moment) -> None:
        after = reboots.returned(self._kept, self._needs, converged=converged, now=now)
        if after is None or after.last is None:
            return
        body = {"what": "Rebooted", **msgspec.to_builtins(after.last)}
        tell: list[Telling] = [("Audit", body)]
        if after.last.outcome != "done":
            text = f"{after.last.outcome}: {after.last.message}"
            tell.append(("Alarm", {"reason": "RebootDidNotHelp", "resource": KEY, "message": text}))
        await self._keep(after, now, *tell)

    async def _tell_given_up(self, now: Moment) -> None:
        kept = self._kept
        new = [each for each in self._wish.given_up if each.cause not in kept.said]
        if new:
            text = "; ".join(each.text for each in new)
            alarm = {"reason": "RebootGivenUp", "resource": KEY, "message": text, "hint": reboots.DID_NOT_HELP}
            said = (*kept.said, *(each.cause for each in new))
            await self._keep(msgspec.structs.replace(kept, said=said), now, ("Alarm", alarm))
