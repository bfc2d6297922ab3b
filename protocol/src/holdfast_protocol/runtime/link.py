"""Staying connected: when to try again, and the loop that does.

Full jitter over an eighth of the time spent without a link, so ever more rarely, to 5 min; back to the start only after
the handler called `settled`: a connection that is made and lost again before a hello was answered is a failure like any
other. A broker that refuses, or another client
that took our session over, is no matter of the network: trying at once would only make the two fight.
"""

from collections.abc import Callable
from contextvars import ContextVar
from random import SystemRandom
from typing import Final, Literal

import msgspec

from holdfast_protocol.errors import LinkLost, MisuseError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.mqtt import Connected, Dial, Handler, Options

FIRST: Final = 1.0  # seconds: the longest wait at first
SHARE: Final = 8.0  # of the time without a link, one in so many is the longest wait
FIRST_REFUSED: Final = 60.0  # the same after a refusal; half of it is waited in any case
LONGEST: Final = 300.0
_CHANCE: Final = SystemRandom().random
REFUSALS: Final = frozenset({"Refused", "TakenOver"})


Doing = Literal["connecting", "connected", "settled", "waiting"]


class LinkState(msgspec.Struct, frozen=True):
    """What the link does. `failures` counts in a row; `wait` is in seconds, for `waiting` only."""

    doing: Doing
    failures: int
    wait: float
    reason: str  # of the last loss, as in LinkLost; "" before the first
    message: str


class Backoff:
    """How long to wait: a function of the time without a link, the reason, and a chance in [0, 1).

    A wait in proportion to the outage grows as a power of the number of attempts, and a fleet that lost its hub for a
    minute comes back over the eight seconds after it, not over the next minute.
    """

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._since = 0.0  # of the first of them, seconds since boot
        self._refusals = 0

    def wait(self, reason: str, chance: float, now: float) -> float:
        """Count one failure and return the seconds to wait after it."""
        if not self.failures:
            self._since = now
        self.failures += 1
        if reason in REFUSALS:
            longest = min(LONGEST, FIRST_REFUSED * 2.0 ** min(self._refusals, 16))
            self._refusals += 1
            return longest / 2 + chance * longest / 2
        return chance * min(LONGEST, max(FIRST, (now - self._since) / SHARE))

    def reset(self) -> None:
        """Begin anew: the peer has answered."""
        self.failures = self._refusals = 0


_settle: ContextVar[Callable[[], None]] = ContextVar("settle")


def settled() -> None:
    """Tell the loop, from within its handler, that the peer has answered: the next failure counts as the first."""
    try:
        settle = _settle.get()
    except LookupError:
        raise MisuseError("settled() is for handlers that run_link runs") from None
    settle()


async def run_link(
    dial: Dial,
    make_options: Callable[[], Options],
    handler: Handler,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    chance: Callable[[], float] = _CHANCE,
) -> None:
    """Connect and run `handler` on the connection, for ever. `make_options` is asked before every attempt.

    A handler ends by LinkLost, also inside an exception group; one that returns wants a new connection, and gets it at
    once if it had settled. Whatever else it raises ends the loop.
    """
    backoff = Backoff()
    lost = ("", "")
    has_settled = False

    def tell(doing: Doing, wait: float = 0.0) -> None:
        on_state(LinkState(doing, backoff.failures, wait, *lost))

    def settle() -> None:
        nonlocal has_settled
        has_settled = True
        backoff.reset()
        tell("settled")

    _settle.set(settle)
    while True:
        tell("connecting")
        has_settled = False
        error = await _serve(dial, make_options(), handler, lambda: tell("connected"))
        lost = (error.reason, error.message)
        if has_settled and error.reason == "Done":
            continue
        wait = backoff.wait(error.reason, chance(), clock.boottime())
        tell("waiting", wait)
        await clock.sleep(wait)


async def _serve(dial: Dial, options: Options, handler: Handler, connected: Callable[[], None]) -> LinkLost:
    """Return why one connection came to its end."""
    lost = [LinkLost("the handler had done its part", reason="Done")]
    connection = dial(options)
    try:
        granted: Connected = await connection.connect()
        connected()
        await handler(connection, granted)
    except* LinkLost as group:
        lost = _leaves(group)
    finally:
        await connection.close()
    return lost[0]


def _leaves(group: BaseExceptionGroup[LinkLost]) -> list[LinkLost]:
    found: list[LinkLost] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
