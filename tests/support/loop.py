"""The agent's loop over real providers, in this process and without a hub: what benchmarks turn by hand and
crashes interrupt."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc

from holdfast_edge.core.report import Origin
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile import transaction
from holdfast_edge.reconcile.assembly import Given, Pace, assemble
from holdfast_edge.reconcile.loop import look, run_reconcile, say
from holdfast_edge.reconcile.site import Site, View
from holdfast_edge.reconcile.watches import run_watch
from holdfast_edge.store.targets import Trust
from holdfast_protocol.runtime.clock import SystemClock, boot_id
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import NodeName
from support import builders

PACE: Final = Pace()


def site_of(state: Path, chosen: Registry, pace: Pace = PACE, boot: str = "") -> Site:
    """`boot`: another one than this machine's."""
    origin = Origin(builders.FLEET, builders.SITE, NodeName("node-1"), boot or boot_id())
    trust = Trust(builders.FLEET, builders.SITE, {builders.HUB.keyid: builders.HUB.public}, {builders.HUB.keyid: 1})
    return assemble(Given(state, origin, trust, chosen, SystemClock(), pace, jitter=lambda: 0.5))


async def give(site: Site, bodies: Sequence[dict[str, Any]], generation: int = 1) -> None:
    """Hand over a target of these as the inbox does."""
    content = target.Content(resources=tuple(target.resource(body) for body in bodies))
    wanted = builders.a_target(content=content, generation=generation)
    await site.targets.accept(wanted, target.seal(wanted, [builders.HUB]), at=0, reason="bench")
    site.wakes.wake()


@asynccontextmanager
async def watched(site: Site, chosen: Registry) -> AsyncIterator[anyio.abc.TaskGroup]:
    """Have every provider watch what it does, as in an agent."""
    async with anyio.create_task_group() as group:
        for provider in chosen.providers:
            group.start_soon(run_watch, site, provider)
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


@asynccontextmanager
async def running(site: Site, chosen: Registry) -> AsyncIterator[None]:
    """Have the loop run beside, as in an agent."""
    async with watched(site, chosen) as group:
        group.start_soon(run_reconcile, site)
        yield


async def reaches(site: Site, state: str, generation: int, within: float) -> None:
    """Return when the loop says so of the target with this generation."""
    with anyio.fail_after(within):
        while (said := site.board.status) is None or (said.state, said.generation) != (state, generation):
            await anyio.sleep(0.02)


async def turn(site: Site, group: anyio.abc.TaskGroup) -> View:
    """Turn the loop once: begin, look, judge, say."""
    await transaction.begin(site, group)
    view = await look(site, group)
    await transaction.judge(site, view)
    await say(site, view)
    return view


async def closed(site: Site, chosen: Registry) -> None:
    for provider in chosen.providers:
        await provider.close()
    site.database.close()
