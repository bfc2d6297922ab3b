"""Hearing the engine's events, through its restarts."""

from typing import Final

from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.kinds.pods.specification import SITE
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.names import SiteName

FIRST_PAUSE_S: Final = 0.5  # between two tries
LONGEST_PAUSE_S: Final = 5.0


async def run_hearing(engine: Engine, site: SiteName, clock: Clock, wake: Wake) -> None:
    """Call `wake` once listening, for every change of a container of the site's, and when the engine goes away."""
    pause = FIRST_PAUSE_S
    while True:
        heard = False

        def hear() -> None:
            nonlocal heard
            heard = True
            wake()

        try:
            await engine.run_events({SITE: site}, hear)
        except ProviderError:
            if heard:  # it was there and went away: the next look tells why
                pause = FIRST_PAUSE_S
                wake()
        await clock.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
