"""Dead man: makes risky changes on trial, tries the way to the hub after them, and goes back by itself.

A guard outside this process does the last part when the agent is gone or hangs. [inv: agent-is-never-its-own-casualty]
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
import msgspec

from holdfast_edge.core import attempts
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.steps import Change, Remove, Step, Wait, digest_of
from holdfast_edge.core.trial import REASON, Changed, Limits, Sign, Trial, joined, verdict, without
from holdfast_edge.providers.port import Reverter, Scope
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.store.board import Board
from holdfast_edge.store.contact import Contact
from holdfast_edge.store.journal import Journal
from holdfast_edge.store.trials import Refused, Trials
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError
from holdfast_protocol.kinds.risk import is_risky
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey

POLL: Final = 1.0  # seconds
_RESTARTS: Final = "AgentVersion/"  # whose change starts the agent anew
RESTARTED: Final = "the agent was started again before the way to the hub was tried"
HINT: Final = "make the change another way; holdfast-edge retry, or holdfast retry SITE at the hub, tries it again"


class Guard(Protocol):
    """Somebody outside this process who goes back when we do not."""

    async def arm(self, trial: str, seconds: float) -> None:
        """Go back from the trial of that id in so many seconds, whatever was said before. Raises TransientError."""
        ...

    async def disarm(self) -> None: ...


@dataclass(frozen=True)
class Safety:
    """What a dead man needs from around: `connects` tries a new connection to the hub's broker."""

    limits: Limits
    contact: Contact
    guard: Guard
    connects: Callable[[], Awaitable[bool]]
    around: Callable[[], Awaitable[tuple[str, ...]]]


class DeadMan:
    def __init__(
        self,
        safety: Safety,
        registry: Registry,
        journal: Journal,
        owned: Callable[[], Mapping[ResourceKey, Owned]],
        trials: Trials,
        board: Board,
        clock: Clock,
        boot_id: str,
        *,
        deadline: float,
        wake: Callable[[], None],
    ) -> None:
        """`owned` returns what is ours now; `deadline` is in seconds for taking back one change."""
        self._safety = safety
        self._registry = registry
        self._journal = journal
        self._owned = owned
        self._trials = trials
        self._board = board
        self._clock = clock
        self._boot_id = boot_id
        self._deadline = deadline
        self._wake = wake
        self._under_way: set[ResourceKey] = set()
        self._going_back = False
        self._begun = anyio.Event()
        self._lock = anyio.Lock()

    @property
    def on_trial(self) -> frozenset[ResourceKey]:
        trial = self._trials.current
        return frozenset() if trial is None else frozenset(each.key for each in trial.changes)

    def shown(self, observed: Mapping[ResourceKey, Observed]) -> dict[ResourceKey, Observed]:
        """Return a look in which what is on trial is not ready yet: nothing builds on it, and it becomes no last-good."""
        trial = self.on_trial
        text = f"kept if the hub, or the local check, is reached within {self._safety.limits.within_s:g} s"
        return {
            key: msgspec.structs.replace(seen, readiness="progressing", reason="OnTrial", message=text)
            if key in trial and seen.as_wanted
            else seen
            for key, seen in observed.items()
        }

    def refuse(self, change: Change) -> None:
        """Raise PermanentError for what was gone back from before."""
        known = self._trials.refused.get(change.key)
        if known is not None and known.digest == digest_of(change):
            raise PermanentError(known.cause, reason=REASON, hint=HINT)

    def apart(self, plan: Sequence[Step], due: attempts.Due) -> tuple[tuple[Step, ...], attempts.Due]:
        """Return plan and what is due with what starts the agent anew waiting for what is, or comes now, on trial: a trial
        that a start cuts off is gone back from."""
        owned = self._owned()
        tried = {*self.on_trial, *(each.key for each in due.now if self._is_risky(each, _whole(owned.get(each.key))))}
        waits = {each.key for each in due.now if each.key.startswith(_RESTARTS) and not isinstance(each, Remove)}
        if not tried or not waits:
            return tuple(plan), due
        now = tuple(each for each in due.now if each.key not in waits)
        on = tuple(sorted(tried))
        return tuple(Wait(each.key, on) if each.key in waits else each for each in plan), attempts.Due(now, due.later)

    async def forgive(self) -> None:
        """Let everything be tried once more: a person says so."""
        await self._trials.forgive()

    async def arm(self, change: Change) -> None:
        """Put a change on trial before its effect, when it is risky. Raises TransientError when that cannot be."""
        before = _whole(self._owned().get(change.key))
        if not self._is_risky(change, before):
            return
        async with self._lock:
            if self._going_back:
                raise TransientError("other changes are just being gone back from", after=POLL, reason="OnTrial")
            now, stood = self._clock.boottime(), self._trials.current
            if stood is None:
                hub = self._safety.contact.heard_at is not None
                around = () if hub else await self._safety.around()
                trial = Trial(secrets.token_hex(8), self._boot_id, now, hub, around)
            else:
                trial = stood
            after = None if isinstance(change, Remove) else change.resource.body
            after_it = joined(trial, Changed(change.key, before, after, digest_of(change)), now, self._boot_id)
            if after_it is None:
                raise TransientError("other changes are still to be gone back from", after=POLL, reason="OnTrial")
            trial = after_it
            if not trial.changes:
                return
            self._under_way.add(change.key)
            armed = False
            try:
                await self._trials.put(trial)
                await self._safety.guard.arm(trial.id, self._safety.limits.guard_s)
                armed = True
            finally:
                if not armed:
                    await self._take_off(change.key, stood)
                self._begun.set()

    async def _take_off(self, key: ResourceKey, stood: Trial | None) -> None:
        """Leave the trial as it stood before a change that is not made: nobody would go back from it, or a newer target
        came. What the disk does not let go now is judged like a change that was made."""
        with anyio.CancelScope(shield=True), contextlib.suppress(TransientError):
            self._under_way.discard(key)
            await self._trials.put(stood)

    async def made(self, change: Change, *, whole: bool) -> None:
        """Count from now: the effect is over. `whole`: it came to its end; what is then as it was is no longer on trial."""
        if change.key not in self._under_way:
            return
        async with self._lock:
            self._under_way.discard(change.key)
            trial = self._trials.current
            if trial is None or self._going_back:
                return
            trial = msgspec.structs.replace(trial, since=self._clock.boottime())
            after = None if isinstance(change, Remove) else change.resource.body
            trial = without(trial, change.key, after) if whole else trial
            if trial.changes:
                await self._trials.put(trial)
            else:
                await self._end()

    async def recover(self) -> None:
        """Go back from what a kill or a reboot interrupted, before anything else is done."""
        trial = self._trials.current
        if trial is not None:
            await self._go_back(trial, trial.cause or RESTARTED)

    async def run(self) -> None:
        """Judge trials, for ever."""
        while True:
            trial = self._trials.current
            if trial is None:
                self._begun = anyio.Event()
                await self._begun.wait()
                continue
            try:
                await self._judge(trial)
            except TransientError as error:  # the disk refuses: it is judged again, and the guard stands
                self._board.note("trial", f"{error.reason}: {error.message}")
            await self._clock.sleep(POLL)

    async def _judge(self, trial: Trial) -> None:
        sign = await self._sign(trial)
        async with self._lock:
            if self._trials.current != trial or (self._under_way and sign.at - trial.since < self._deadline):
                return  # another change came, or is being made: it starts the time anew
            said = verdict(trial, sign, self._safety.limits, self._boot_id)
            if said == "wait":
                return
            if said == "keep":
                await self._end()
                self._wake()
                return
            self._going_back = True
        await self._go_back(trial, said)

    async def _sign(self, trial: Trial) -> Sign:
        contact = self._safety.contact
        if not trial.hub:
            around = await self._safety.around()
            return Sign(self._clock.boottime(), None, False, around)
        contact.ask()
        connects = await self._safety.connects()
        return Sign(self._clock.boottime(), contact.heard_at, connects, ())

    async def _end(self) -> None:
        await self._trials.put(None)
        self._board.note("trial", "")
        with contextlib.suppress(TransientError):  # a guard that cannot be called off finds the trial over
            await self._safety.guard.disarm()

    async def _go_back(self, trial: Trial, cause: str) -> None:
        """[inv: intent-before-effect] What cannot be taken back now is tried again at the next turn."""
        self._going_back = True
        try:
            trial = msgspec.structs.replace(trial, cause=cause)
            refused = {each.key: Refused(each.digest, cause) for each in trial.changes}
            await self._trials.put(trial, {**self._trials.refused, **refused})
            failures: list[ProviderError] = []
            for change in reversed(trial.changes):
                try:
                    await asked(
                        taken_back(change, self._registry), within=self._deadline, phase="revert", resource=change.key
                    )
                except ProviderError as error:  # another of them may be what cuts the way
                    failures.append(error)
                    continue
                await self._journal.reverted(change.before, self._attempt(change, cause), at=self._now_ms())
                left = tuple(each for each in trial.changes if each.key != change.key)
                trial = msgspec.structs.replace(trial, changes=left)
                if left:  # the next turn begins with what is left, and says nothing twice
                    await self._trials.put(trial)
            if failures:
                raise failures[0]
            await self._end()
        except ProviderError as error:
            self._board.note("trial", f"{error.resource}: cannot be gone back from: {error.reason}: {error.message}")
        finally:
            self._going_back = False
            self._begun.set()
            self._wake()

    def _attempt(self, change: Changed, cause: str) -> attempts.Attempt:
        error = PermanentError(cause, reason=REASON, hint=HINT)
        now = self._clock.boottime()
        return attempts.failed(None, change.key, change.digest, error, now=now, boot_id=self._boot_id, jitter=1.0)

    def _is_risky(self, change: Change, before: Owned | None) -> bool:
        if isinstance(change, Remove):
            return is_risky(change.body)
        if before is not None and before.digest == change.resource.digest:
            return False  # a repair: it was tried when it was new
        return is_risky(change.resource.body) or (before is not None and is_risky(before.body))

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _whole(thing: Owned | None) -> Owned | None:
    """Return what was applied whole; None for what was begun only."""
    return thing if thing is not None and thing.digest else None


async def taken_back(change: Changed, registry: Registry) -> None:
    """Bring what a change was about back to how it stood before. May be called again at any time."""
    provider = registry.provider(change.key)
    before = target.resource(change.before.body) if change.before is not None else None
    after: dict[str, Any] = change.after or (change.before.body if change.before is not None else {})
    scope = Scope({} if before is None else {change.key: before}, {change.key: after})
    if isinstance(provider, Reverter):
        await provider.revert(change.key, after, before, scope)
    elif before is not None:
        await provider.apply(before, scope)
    else:
        await provider.remove(change.key, after)
