"""Deployments, StatefulSets, DaemonSets and Pods on a container engine.

The first three are so many Pods; a Pod is containers that share the first one's network (there is no pause image to
fetch at a site without a registry). When the first is started again, the others are restarted into its new network.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.container import health, status, steps, volumes
from holdfast_edge.providers.container.asking import Subject
from holdfast_edge.providers.container.engine import Sight
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.planner import Planned
from holdfast_edge.providers.container.probes import Verdict, probes_of
from holdfast_edge.providers.container.workloads import Workloads
from holdfast_edge.providers.disk.failures import unseen
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import ProviderError, TransientError
from holdfast_protocol.kinds.pods.reading import KINDS
from holdfast_protocol.kinds.pods.specification import RESOURCE, SITE, ContainerPlan, folder_name
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

WAIT_S: Final = 15.0  # of one apply, for what it changed to become ready before it changes more
POLL_S: Final = 0.2


class ContainerProvider(Workloads):
    kinds: tuple[str, ...] = KINDS

    def check(self, resource: Resource, scope: Scope) -> None:
        self._planner.planned(resource, scope)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        planned = self._planner.planned(resource, scope)
        await self._builder.check(planned.pods[:1], planned.logins, wait_s=None)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        planned: dict[ResourceKey, Planned | ProviderError] = {}
        for resource in resources:
            try:
                planned[resource.key] = self._planner.planned(resource, scope)
            except ProviderError as error:
                planned[resource.key] = error
        self._planner.keep_only(planned)
        self._prober.keep_resources(set(planned))
        images = [image for each in planned.values() if isinstance(each, Planned) for image in each.images]
        sight = await self._engine.look({SITE: self._site}, images)
        of_key: dict[str, list[Found]] = {}
        for each in sight.containers:
            of_key.setdefault(each.resource, []).append(each)
        seen = {}
        for key, outcome in planned.items():
            mine = tuple(of_key.get(key, ()))
            seen[key] = (
                await self._observed(outcome, Sight(mine, sight.images))
                if isinstance(outcome, Planned)
                else unseen(key, outcome, exists=bool(mine))
            )
        return seen

    async def apply(self, resource: Resource, scope: Scope) -> None:
        """Do what can be done now, and go on while what was changed becomes ready soon.

        Raises TransientError (Waiting) when the rest has to wait longer, or is never done: what counts as made, and is to
        be made again and again, is taken for undone by somebody. The replicas not yet replaced keep serving.
        """
        planned = self._planner.planned(resource, scope)
        patience, rounds = self._clock.boottime() + WAIT_S, 8 + 4 * len(planned.pods)
        while True:
            sight = await self._engine.look({SITE: self._site, RESOURCE: planned.key}, planned.images)
            situation = await self._situation(planned, sight, self._verdicts(planned, sight))
            plan = steps.plan(situation)
            if not plan.differences:
                break
            if rounds == 0 or (not plan.steps and self._clock.boottime() >= patience):
                raise TransientError("; ".join(plan.differences), reason="Waiting", after=1.0)
            if plan.steps:
                rounds -= 1
                for each in sight.containers:
                    if situation.health.get(each.id, steps.Health()).restart_now:
                        self._prober.note_restart(planned.key, each.name)
                await self._builder.carry_out(plan.steps, planned, sight)
                patience = self._clock.boottime() + WAIT_S
            else:
                await self._clock.sleep(POLL_S)
        await self._prune(planned, sight)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        self._prober.keep_only(key, set())
        await super().remove(key, body)

    async def _observed(self, planned: Planned, sight: Sight) -> Observed:
        found = sight.containers
        verdicts = self._verdicts(planned, sight)
        situation = await self._situation(planned, sight, verdicts)
        plan = steps.plan(situation)
        pulling = self._builder.images.progress(planned.images)
        uptimes = {each: one.uptime_s for each, one in situation.health.items()}
        judged = health.judgement(planned.pods, found, situation.policy, verdicts, uptimes)
        if judged.reason == "CrashLoop":
            self._prober.remind(planned.key, health.UNSETTLED_S)
        return Observed(
            planned.key,
            bool(found) or not planned.pods,
            plan.differences,
            judged.readiness,
            judged.reason,
            judged.message,
            detail=health.detail(found, verdicts) | ({"pulling": pulling} if pulling else {}),
            status=status.of_workload(planned, found, verdicts, uptimes),
        )

    async def _situation(self, planned: Planned, sight: Sight, verdicts: Mapping[str, Verdict]) -> steps.Situation:
        damaged = await anyio.to_thread.run_sync(_damaged, planned)
        now = self._clock.boottime()
        return steps.Situation(
            pods=planned.pods,
            found=sight.containers,
            policy=planned.workload.pod.restart_policy,
            images=sight.images,
            health={
                each.id: _health(verdicts.get(each.id), self._uptime(each), now)
                for each in sight.containers
                if each.state == "running"
            },
            damaged=damaged,
            at_once=planned.workload.at_once,
            min_ready_s=planned.workload.min_ready_s,
            in_order=planned.workload.in_order,
        )

    def _verdicts(self, planned: Planned, sight: Sight) -> dict[str, Verdict]:
        """Have every running container with probes followed, and return what is known of each."""
        pods = {str(pod.replica): pod for pod in planned.pods}
        verdicts = {}
        running = [each for each in sight.containers if each.state == "running"]
        for each in running:
            pod = pods.get(each.replica)
            plan = next((one for one in pod.containers if one.container == each.container), None) if pod else None
            if plan is None:
                continue
            probes = probes_of(plan.source)
            if each.digest != (pod.digest if pod else ""):  # its own probes go on: those of a newer revision do not fit
                verdict = self._prober.known(planned.key, each.id, each.started_at)
            elif probes:
                subject = self._subject(each, plan, sight.containers)
                verdict = self._prober.follow(planned.key, each.name, each.started_at, subject, probes)
            else:
                continue
            if verdict is not None:
                verdicts[each.id] = verdict
        self._prober.keep_only(planned.key, {each.id for each in running})
        return verdicts

    def _subject(self, each: Found, plan: ContainerPlan, every: Sequence[Found]) -> Subject:
        owner = each
        if plan.joins:
            owner = next((one for one in every if each.network == f"container:{one.id}"), each)
        address = "127.0.0.1" if owner.network == "host" else owner.address
        return Subject(each.id, plan.source, address, dict(owner.bindings))

    def _uptime(self, each: Found) -> float:
        """Return seconds; a start in the future (the clock was set back) counts as long ago, or nothing would go on."""
        elapsed = self._clock.wall() - each.started_at
        return elapsed if elapsed >= 0 else float("inf")

    async def _prune(self, planned: Planned, sight: Sight) -> None:
        keep = {Path(pod.folder).name for pod in planned.pods}
        keep |= {folder_name(each.replica, each.digest) for each in sight.containers}
        await anyio.to_thread.run_sync(volumes.prune, self._volumes / self._name(planned.key), keep)


def _health(verdict: Verdict | None, uptime: float, now: float) -> steps.Health:
    if verdict is None:
        return steps.Health(uptime_s=uptime)
    return steps.Health(verdict.ready, uptime, 0 < verdict.restart_at <= now, verdict.why)


def _damaged(planned: Planned) -> frozenset[int]:
    return frozenset(pod.replica for pod in planned.pods if volumes.is_damaged(pod))
