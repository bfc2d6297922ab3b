"""Watches: what providers notice by themselves wakes the loop; one that fails costs only its own events."""

import math
from typing import Final

from holdfast_edge.providers.port import Provider
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.site import Site
from holdfast_protocol.errors import ProviderError

AGAIN: Final = 30.0  # seconds after a watch failed


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
