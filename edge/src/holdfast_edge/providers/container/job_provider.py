"""Jobs and CronJobs on a container engine: evaluated on the node, with or without its hub."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.providers.container import agenda, job_status, volumes
from holdfast_edge.providers.container.agenda import Agenda
from holdfast_edge.providers.container.engine import Sight
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.job_ledger import JobLedger
from holdfast_edge.providers.container.job_steps import JobStep
from holdfast_edge.providers.container.runs import Attempt, History, Run, merged
from holdfast_edge.providers.container.workloads import Workloads
from holdfast_edge.providers.disk.failures import unseen
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.kinds.pods.contents import Sources
from holdfast_protocol.kinds.pods.cron_job import CronJob, cron_job
from holdfast_protocol.kinds.pods.job import Job, job
from holdfast_protocol.kinds.pods.pull_secrets import Login
from holdfast_protocol.kinds.pods.specification import (
    RESOURCE,
    SITE,
    Part,
    PodPlan,
    Surroundings,
    folder_name,
    pod_plan,
)
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_ROUNDS: Final = 50  # of one apply; what is left is seen by the next look


class _Asked(msgspec.Struct, frozen=True):
    job: Job
    cron: CronJob | None
    sources: Sources
    around: Surroundings
    logins: Mapping[str, Login]

    def agenda(self, history: History, found: Sequence[Found], now: float) -> Agenda:
        if self.cron is None:
            return agenda.of_job(self.job, history, found, now)
        return agenda.of_cron_job(self.cron, history, found, now)


class JobProvider(Workloads):
    kinds: tuple[str, ...] = ("Job", "CronJob")

    @cached_property
    def _ledger(self) -> JobLedger:
        return JobLedger(self._state / "jobs")

    def check(self, resource: Resource, scope: Scope) -> None:
        asked = self._asked(resource, scope)
        self._pod(asked, Run("", asked.job.digest, 0.0), Attempt(0))

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        asked = self._asked(resource, scope)
        pod = self._pod(asked, Run("", asked.job.digest, 0.0), Attempt(0))
        await self._builder.check([pod], asked.logins, wait_s=None)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        sight = await self._engine.look({SITE: self._site})
        self._prober.keep_resources({each.key for each in resources})
        seen = {}
        for resource in resources:
            found = [each for each in sight.containers if each.resource == resource.key]
            try:
                seen[resource.key] = await self._observed(self._asked(resource, scope), found)
            except ProviderError as error:
                seen[resource.key] = unseen(resource.key, error, exists=bool(found))
        return seen

    async def apply(self, resource: Resource, scope: Scope) -> None:
        """Write down what has ended and what begins, then begin it, until nothing is left to do now."""
        asked = self._asked(resource, scope)
        name = self._name(resource.key)
        for _ in range(MAX_ROUNDS):
            sight = await self._engine.look({SITE: self._site, RESOURCE: resource.key})
            before = await anyio.to_thread.run_sync(self._ledger.read, name)
            now = self._clock.wall()
            todo = asked.agenda(merged(before or History(), sight.containers, now), sight.containers, now)
            if todo.history != before:
                await anyio.to_thread.run_sync(self._ledger.write, name, todo.history)
            for _, step in todo.steps:
                await self._clear(step, sight)
            await self._build(asked, [(run, step.attempt) for run, step in todo.steps if step.attempt], sight)
            if not todo.steps:
                await self._prune(resource.key, todo.history, sight)
                return

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """And then its ledger."""
        await super().remove(key, body)
        await anyio.to_thread.run_sync(self._ledger.forget, self._name(key))

    def _asked(self, resource: Resource, scope: Scope) -> _Asked:
        cron = cron_job(resource.key, resource.body) if resource.kind == "CronJob" else None
        asked = cron.job if cron is not None else job(resource.key, resource.body)
        sources, _, around, logins = self._planner.grounds(asked.workload, scope)
        return _Asked(asked, cron, sources, around, logins)

    def _pod(self, asked: _Asked, run: Run, attempt: Attempt) -> PodPlan:
        base = asked.job.workload.name
        middle = f"-{int(run.name) // 60}" if run.name else ""
        part = Part(
            pod_name=f"{base}{middle}-{attempt.index if asked.job.indexed else attempt.number}",
            run=run.name,
            index=attempt.index,
            indexed=asked.job.indexed,
            retries=asked.job.backoff_limit,
        )
        digest = asked.job.digest
        return pod_plan(asked.job.workload, asked.sources, self._site, attempt.number, digest, asked.around, part)

    async def _observed(self, asked: _Asked, found: Sequence[Found]) -> Observed:
        key = asked.job.workload.key
        written = await anyio.to_thread.run_sync(self._ledger.read, self._name(key))
        now = self._clock.wall()
        history = merged(written or History(), found, now)
        todo = asked.agenda(history, found, now)
        if todo.wake_at != math.inf:
            self._prober.remind(key, max(0.0, todo.wake_at - now))
        differences = [step.why for _, step in todo.steps]
        if todo.history != written and not differences:
            differences.append("what has happened is to be written down")
        shown = job_status.shown(asked.job, asked.cron, todo.history, found)
        return Observed(
            key,
            written is not None or bool(found),
            tuple(differences),
            shown.readiness,
            shown.reason,
            shown.message,
            detail=shown.detail,
            status=shown.status,
        )

    async def _clear(self, step: JobStep, sight: Sight) -> None:
        found = [each for each in sight.containers if each.id in step.ids]
        if step.action == "remove":
            await self._builder.remove(found)
        elif step.action == "stop":
            for each in found:
                await self._engine.stop(each.id, each.grace_s)

    async def _build(self, asked: _Asked, wanted: Sequence[tuple[Run, Attempt]], sight: Sight) -> None:
        pods = [self._pod(asked, run, attempt) for run, attempt in wanted]
        names = await self._builder.check(pods, asked.logins)
        for pod, (run, attempt) in zip(pods, wanted, strict=True):
            place = (run.name, run.digest, str(attempt.number))
            standing = {
                each.container: each for each in sight.containers if (each.run, each.digest, each.replica) == place
            }
            await self._builder.build(pod, standing, asked.job.workload.pod.restart_policy, names)

    async def _prune(self, key: ResourceKey, history: History, sight: Sight) -> None:
        keep = {folder_name(each.replica, each.digest, each.run) for each in sight.containers}
        keep |= {folder_name(str(each.number), run.digest, run.name) for run in history.runs for each in run.active}
        await anyio.to_thread.run_sync(volumes.prune, self._volumes / self._name(key), keep)
