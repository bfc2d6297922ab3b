"""A source that connects by other means than MQTT: served until it is lost, and again, by the policy of every link."""

from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Final

from holdfast_protocol.errors import LinkLost, first_of
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import Backoff, Doing, LinkState

CHANCE: Final = SystemRandom().random
QUIET: Final = 3  # attempts to connect that fail before a source counts as broken
_FINAL: Final = frozenset({"Refused", "TakenOver", "NotTrusted", "NoQueue"})  # trying again will hardly help


def is_serious(state: LinkState) -> bool:
    """Return whether a loss is worth saying: it came more than once or twice, or is none that time heals."""
    return state.failures >= QUIET or state.reason in _FINAL


async def run_attempts(
    serve: Callable[[Callable[[], None]], Awaitable[None]],
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    chance: Callable[[], float] = CHANCE,
) -> None:
    """Call `serve` until cancelled: it uses one connection, calls what it is given once that is of use, and ends by
    LinkLost, perhaps in a group."""
    backoff, lost = Backoff(), LinkLost("")

    def tell(doing: Doing, wait: float = 0.0) -> None:
        on_state(LinkState(doing, backoff.failures, wait, lost.reason if str(lost) else "", lost.message))

    def settle() -> None:
        backoff.reset()
        tell("settled")

    while True:
        tell("connecting")
        try:
            await serve(settle)
        except* LinkLost as found:
            lost = first_of(found)
        wait = backoff.wait(lost.reason, chance(), clock.boottime())
        tell("waiting", wait)
        await clock.sleep(wait)
