"""What the providers of workloads share: the site's engine, and how what was made for a resource is taken away."""

from collections.abc import Mapping
from pathlib import Path
from threading import Semaphore
from typing import Any

import anyio
import anyio.to_thread

from holdfast_edge.providers.container import logbook, volumes
from holdfast_edge.providers.container.builder import Builder, network_name
from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.container.hearing import run_hearing
from holdfast_edge.providers.container.planner import Planner
from holdfast_edge.providers.container.prober import Prober
from holdfast_edge.providers.port import Wake
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.kinds.pods.specification import RESOURCE, SITE, identity
from holdfast_protocol.runtime.clock import Clock, SystemClock
from holdfast_protocol.wire.names import ResourceKey, SiteName


class Workloads:
    """The half of a provider that does not ask what kind of workload it is."""

    def __init__(
        self,
        engine_url: str,
        site: SiteName,
        state_dir: Path,
        *,
        rules: Rules,
        mirrors: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        turns: Semaphore | None = None,
    ) -> None:
        """`engine_url`: unix:///run/docker.sock. `state_dir`: the agent's own folder, the same path for the engine.
        `rules` says what this site allows. `mirrors`: registry -> host:port asked in its stead."""
        self._site = site
        self._clock = clock or SystemClock()
        self._state = state_dir
        self._volumes = state_dir / "volumes"
        self._engine = Engine(engine_url, mirrors)
        self._planner = Planner(site, state_dir, rules)
        self._builder = Builder(self._engine, rules, site, turns)
        self._prober = Prober(self._engine, self._clock)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """[inv: only-owned-things-are-removed] What carries our labels for this key, and its folder."""
        sight = await self._engine.look({SITE: self._site, RESOURCE: key})
        await self._builder.remove(sight.containers)
        await anyio.to_thread.run_sync(volumes.remove, self._volumes / self._name(key))
        await self._engine.remove_idle_network(network_name(self._site))

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._prober.run, wake)
            await run_hearing(self._engine, self._site, self._clock, wake)

    async def logs(self, key: ResourceKey, body: dict[str, Any], lines: int) -> str:
        return await logbook.tails(self._engine, self._site, key, lines)

    async def close(self) -> None:
        await self._engine.close()

    def _name(self, key: ResourceKey) -> str:
        return identity(self._site, key, key.rpartition("/")[2])
