"""Watches: what providers notice by themselves wakes the loop; one that fails costs only its own events."""

import math
from typing import Final

import anyio

from holdfast_edge.providers.port import Provider
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.site import Site
from holdfast_protocol.errors import ProviderError

AGAIN: Final = 30.0  # seconds after a watch failed


async def run_watches(site: Site, registry: Registry) -> None:
    """Watch for ever with the providers there are, and with each from when it is made."""
    async with anyio.create_task_group() as group:

        def begin(provider: Provider) -> None:
            group.start_soon(run_watch, site, provider, name=f"watch {provider.kinds[0]}")

        registry.on_made = begin
        for provider in registry.providers:
            begin(provider)
        await anyio.sleep_forever()


async def run_watch(site: Site, provider: Provider) -> None:
    """Watch for ever, or return when the provider has no events; the periodic look finds what is missed meanwhile."""
    who = f"watch {provider.kinds[0]}"
    while True:
        try:
            await asked(provider.run_watch(site.wakes.wake), within=math.inf, phase="watch")
        except ProviderError as error:
            _note(site, who, f"{provider.kinds[0]} is only looked at now and then: {error.message}")
            await site.clock.sleep(AGAIN)
            _note(site, who, "")
        else:
            return


def _note(site: Site, who: str, problem: str) -> None:
    if site.board.note(who, problem):
        site.wakes.wake()
