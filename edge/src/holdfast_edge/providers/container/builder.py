"""Carrying out steps at the engine. Each may be begun again after a kill anywhere: what is there already is taken up."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import anyio
import anyio.to_thread

from holdfast_edge.providers.container import volumes
from holdfast_edge.providers.container.admission import Rules
from holdfast_edge.providers.container.engine import Engine, Sight
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.images import Images
from holdfast_edge.providers.container.planner import Planned
from holdfast_edge.providers.container.podspec import RestartPolicy
from holdfast_edge.providers.container.specification import ContainerPlan, PodPlan
from holdfast_edge.providers.container.steps import Step, should_run
from holdfast_protocol.errors import PermanentError, ProviderError


class Builder:
    def __init__(self, engine: Engine, rules: Rules) -> None:
        self._engine = engine
        self._rules = rules
        self._images = Images(engine)

    async def carry_out(self, plan: Sequence[Step], planned: Planned, sight: Sight) -> None:
        """Do a plan's steps: nothing is taken away before what is to stand in its place can be made."""
        pods = {pod.replica: pod for pod in planned.pods}
        found = {each.id: each for each in sight.containers}
        made = [step for step in plan if step.action in ("replace", "build")]
        checked: set[str] = set()
        for step in made:
            for container in (*pods[step.replica].init, *pods[step.replica].containers):
                if container.container not in checked:
                    await self._check(container)
                    checked.add(container.container)
            await anyio.to_thread.run_sync(volumes.check_host_paths, pods[step.replica], self._rules)
        gone = {each for step in plan if step.action in ("remove", "replace") for each in step.ids}
        await self.remove([found[each] for each in gone])
        for step in plan:
            if step.action == "replace":
                await anyio.to_thread.run_sync(volumes.remove_folder, pods[step.replica])
        for step in made:
            standing = {
                each.container: each
                for each in sight.containers
                if each.replica == str(step.replica) and each.id not in gone
            }
            await self._build(pods[step.replica], standing, planned.workload.pod.restart_policy)
        for step in plan:
            for each in step.ids:
                if step.action == "unpause":
                    await self._engine.unpause(each)
                elif step.action == "restart":
                    await self._engine.restart(each, found[each].grace_s)

    async def remove(self, containers: Iterable[Found]) -> None:
        """Remove containers side by side: each may take its time to end."""
        errors: list[ProviderError] = []

        async def removed(each: Found) -> None:
            try:
                await self._engine.remove(each.id, each.grace_s)
            except ProviderError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for each in containers:
                group.start_soon(removed, each)
        if errors:
            raise errors[0]

    async def _check(self, container: ContainerPlan) -> None:
        await self._images.ensure(container)
        if container.host.keys() & {"Memory", "NanoCpus"}:
            lacking = await self._engine.lacks(container.host)
            if lacking:
                raise PermanentError(
                    f"container {container.container}: this machine cannot limit {lacking}",
                    reason="LimitUnsupported",
                    hint="enable the kernel's memory and cpu control groups, or leave the limit out",
                )

    async def _build(self, pod: PodPlan, standing: Mapping[str, Found], policy: RestartPolicy) -> None:
        """Make and start what a Pod lacks: its next initContainer, or its containers once those have ended well."""
        await anyio.to_thread.run_sync(partial(volumes.make, pod))
        if not any(each.container in standing for each in pod.containers):
            for each in pod.init:
                there = standing.get(each.container)
                if there is None or there.state != "exited" or there.exit_code != 0:
                    await self._engine.start(there.id if there else await self._engine.create(each.name, each.config))
                    return
        first = ""
        for each in pod.containers:
            there = standing.get(each.container)
            number = there.id if there else await self._engine.create(each.name, _joined(each, first))
            first = first or number
            if there is None or should_run(policy, there):
                await self._engine.start(number)


def _joined(container: ContainerPlan, first: str) -> dict[str, object]:
    if not container.joins:
        return container.config
    return container.config | {"HostConfig": container.host | {"NetworkMode": f"container:{first}"}}
