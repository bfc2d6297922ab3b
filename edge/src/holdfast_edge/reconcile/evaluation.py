"""Evaluation: what targets leave to their site, judged after each look, in a thread and with a deadline.

Costs nothing for a target without programs, and little while what was seen stays the same: then the last judgement holds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from holdfast_edge.core.diff import Owned
from holdfast_edge.core.late import NOT_YET, Decision, decide
from holdfast_edge.core.programs import Compiled, Judged, compiled, name_of
from holdfast_edge.core.sights import Body, Look, Reference
from holdfast_edge.providers.port import Finder, Readiness
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.observe import Sight
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.wire.messages import Condition, InstanceStatus
from holdfast_protocol.wire.names import Digest, ResourceKey
from holdfast_protocol.wire.program import Program, ProgramInstance
from holdfast_protocol.wire.target import Resource, Target

KEPT: Final = 3  # targets: the one held, the newest, the one before
MAX_CLAIMS: Final = 10_000  # bodies whose claims are remembered
MAX_ASKED: Final = 200  # objects outside the target that are looked for

Verdict = Judged | Condition


class _Held:
    """What is known of one target."""

    def __init__(self, target: Target) -> None:
        self.programs = target.content.programs
        self.late = {(each.owner, late.id) for each in _instances(self.programs) for late in each.late}
        self.verdicts: dict[str, Verdict] = {}
        self.asked: frozenset[Reference] = frozenset()
        self.look: Look | None = None  # that `verdicts` are about
        self.owned: Mapping[ResourceKey, Owned] | None = None  # that `decision` is about
        self.concerned: dict[ResourceKey, Owned] = {}  # those of them that are late resources
        self.claims: dict[str, tuple[str, ...]] = {}  # by digest of a resource
        self.decision: Decision | None = None


class Evaluation:
    def __init__(self, registry: Registry, wake: Callable[[], None], *, deadline: float) -> None:
        """`deadline` is in seconds for one target, and for one provider that is asked for an object."""
        self._registry = registry
        self._wake = wake
        self._deadline = deadline
        self._held: dict[Digest, _Held] = {}
        self._definitions: dict[str, Compiled | Condition] = {}
        self._running: anyio.Event | None = None

    def decision(self, target: Target, owned: Mapping[ResourceKey, Owned]) -> Decision | None:
        """Return what is wanted altogether as far as it is judged, the same object while it is equal; None for a target
        without programs."""
        if not target.content.programs:
            return None
        held = self._of(target)
        if held.decision is not None and held.owned is owned:
            return held.decision
        concerned = {key: each for key, each in owned.items() if (each.instance, each.id) in held.late}
        if held.decision is None or held.owned is None or concerned != held.concerned:
            own = {each.key: each for each in target.content.resources}
            if len(held.claims) > MAX_CLAIMS:
                held.claims.clear()
            made = decide(own, held.programs, held.verdicts, concerned, held.claims)
            if made != held.decision:
                held.decision = made
            held.concerned = concerned
        held.owned = owned
        return held.decision

    def statuses(self, target: Target) -> tuple[InstanceStatus, ...]:
        """Return what is said of the instances evaluated here, in order."""
        held = self._held.get(target.digest)
        found = [] if held is None else [_status(each, held.verdicts) for each in _instances(held.programs)]
        return tuple(sorted(found, key=lambda each: each.owner))

    async def see(
        self, group: anyio.abc.TaskGroup, target: Target, wanted: Mapping[ResourceKey, Resource], sight: Sight
    ) -> Sight:
        """Judge a target by a look, and return the look as its readyWhen see it. `group` outlives an evaluation that does
        not end in time; asks for another look when more, or something else, is wanted now."""
        if not target.content.programs:
            return sight
        held = self._of(target)
        silent: set[int] = set()
        found = {each: await self._find(each, silent) for each in sorted(held.asked)[:MAX_ASKED]}
        look = Look(dict(wanted), sight.observed, found)
        if look != held.look and self._running is None:
            self._running = running = anyio.Event()
            group.start_soon(self._judge, held, look, running)
            with anyio.move_on_after(self._deadline):
                await running.wait()
            if not running.is_set():
                self._overdue(held)
        return _gated(sight, held.verdicts)

    def _of(self, target: Target) -> _Held:
        if target.digest not in self._held:
            self._held[target.digest] = _Held(target)
            while len(self._held) > KEPT:
                del self._held[next(iter(self._held))]
            used = {name_of(each) for held in self._held.values() for each in held.programs}
            self._definitions = {name: each for name, each in self._definitions.items() if name in used}
        return self._held[target.digest]

    async def _judge(self, held: _Held, look: Look, running: anyio.Event) -> None:
        judged_by: Look | None = look
        try:
            work = anyio.to_thread.run_sync(self._verdicts, held.programs, look, abandon_on_cancel=True)
            verdicts = await asked(work, within=float("inf"), phase="evaluate")
        except ProviderError as error:  # a bug of ours, or no memory: nothing is decided, and the next look tries again
            judged_by = None
            verdicts = _same(held.programs, Condition("Failed", error.reason, error.message[:300]))
        finally:
            self._running = None
            running.set()
        judged = [each for each in verdicts.values() if isinstance(each, Judged)]
        held.asked = frozenset(reference for each in judged for reference in each.asked)
        if _made(verdicts) != _made(held.verdicts) or held.asked - look.found.keys():
            self._wake()  # not for a status alone: one that grows by itself would never let the loop rest
        held.look = judged_by
        self._settle(held, verdicts)

    def _verdicts(self, programs: tuple[Program, ...], look: Look) -> dict[str, Verdict]:
        """For a thread, one at a time."""
        self._definitions = {**self._definitions, **compiled(programs, self._definitions)}
        found: dict[str, Verdict] = {}
        for program in programs:
            definition = self._definitions[name_of(program)]
            for instance in program.instances:
                judged = definition.judge(instance, look) if isinstance(definition, Compiled) else definition
                found[instance.owner] = judged
        return found

    def _overdue(self, held: _Held) -> None:
        """Decide nothing by an old judgement: what is late stays as it is until the one under way ends."""
        said = Condition("Degraded", "EvaluationTimeout", f"not evaluated within {self._deadline:g} s")
        made = {
            owner: msgspec.structs.replace(each, made={}, open={**dict.fromkeys(each.made, said), **each.open})
            if isinstance(each, Judged)
            else each
            for owner, each in held.verdicts.items()
        }
        self._settle(held, {**_same(held.programs, said), **made})

    def _settle(self, held: _Held, verdicts: dict[str, Verdict]) -> None:
        if verdicts != held.verdicts:
            held.verdicts, held.owned = verdicts, None

    async def _find(self, reference: Reference, silent: set[int]) -> tuple[Body, ...] | None:
        """Return the objects outside the target; None when nobody could look. Who gave no answer in time joins `silent`,
        and is asked no more in this look."""
        provider = self._registry.provider(ResourceKey(f"{reference.kind}/"))
        if not isinstance(provider, Finder):
            return None if reference.name else ()  # of a kind only targets make, all there are are in the target
        if id(provider) in silent:
            return None
        try:
            found = provider.find(reference.kind, reference.name, reference.namespace)
            return tuple(await asked(found, within=self._deadline, phase="find"))
        except ProviderError as error:
            if error.reason == "Deadline":
                silent.add(id(provider))
            return None


def _instances(programs: Iterable[Program]) -> list[ProgramInstance]:
    return [instance for program in programs for instance in program.instances]


def _made(verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, tuple[Body, ...]]]:
    return {owner: each.made for owner, each in verdicts.items() if isinstance(each, Judged) and each.made}


def _same(programs: Iterable[Program], said: Condition) -> dict[str, Verdict]:
    return {each.owner: said for each in _instances(programs)}


def _status(instance: ProgramInstance, verdicts: Mapping[str, Verdict]) -> InstanceStatus:
    verdict = verdicts.get(instance.owner, NOT_YET)
    if isinstance(verdict, Judged) and verdict.status is not None:
        return verdict.status
    problem = f"{verdict.reason}: {verdict.message}" if isinstance(verdict, Condition) else ""
    return InstanceStatus(instance.owner, "IN_PROGRESS", problem=problem)


def _gated(sight: Sight, verdicts: Mapping[str, Verdict]) -> Sight:
    """Return a look in which what fails its readyWhen is not ready."""
    observed = dict(sight.observed)
    for verdict in verdicts.values():
        for key, condition in (verdict.unmet if isinstance(verdict, Judged) else {}).items():
            seen = observed.get(key)
            if seen is not None and seen.readiness == "ready":
                readiness: Readiness = "degraded" if condition.type == "Degraded" else "progressing"
                observed[key] = msgspec.structs.replace(
                    seen, readiness=readiness, reason=condition.reason, message=condition.message
                )
    return Sight(observed, sight.blind)
