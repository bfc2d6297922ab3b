"""The reconnect policy: how long to wait, and what counts as having been connected."""

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from holdfast_protocol.errors import LinkLost, MisuseError
from holdfast_protocol.runtime.link import Backoff, LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Options
from support.broker import FakeBroker
from support.clock import FakeClock, Running, eventually

pytestmark = pytest.mark.anyio
CLIENT = Options(client_id="press-01.node-1")


class Stop(Exception):
    """Ends a loop that never ends."""


def broker() -> FakeBroker:
    return FakeBroker(duplicate=0, drop=0)


def attempts(count: int, action: Callable[[], None] = lambda: None) -> Callable[[], Options]:
    """Options for so many attempts, then the end of the loop."""
    left = iter(range(count))

    def make() -> Options:
        if next(left, None) is None:
            raise Stop
        action()
        return CLIENT

    return make


def waits(backoff: Backoff, reason: str, chance: float, count: int) -> list[float]:
    """Fail so many times, each after the wait before it."""
    now, found = 1000.0, []
    for _ in range(count):
        found.append(backoff.wait(reason, chance, now))
        now += found[-1]
    return found


def test_waits_grow_with_the_outage_up_to_five_minutes_and_are_spread_over_their_whole_length() -> None:
    longest = Backoff()
    assert [longest.wait("Lost", 1.0, 1000.0 + after) for after in (0, 4, 8, 10, 80, 800, 2400, 86_400)] == [
        1, 1, 1, 1.25, 10, 100, 300, 300,
    ]  # fmt: skip
    assert set(waits(Backoff(), "Lost", 0.0, 10)) == {0.0}
    assert longest.wait("Lost", 0.5, 1080.0) == 5


def test_an_outage_of_days_takes_few_attempts() -> None:
    chances = iter([0.5] * 10_000)
    now, backoff, attempts = 0.0, Backoff(), 0
    while now < 3 * 86_400:
        now += backoff.wait("Unreachable", next(chances), now) + 0.01
        attempts += 1
    assert attempts < 2000


@pytest.mark.parametrize("reason", ["Refused", "TakenOver"])
def test_who_was_refused_or_taken_over_waits_long_whatever_the_chance(reason: str) -> None:
    assert waits(Backoff(), reason, 1.0, 5) == [60, 120, 240, 300, 300]
    assert waits(Backoff(), reason, 0.0, 5) == [30, 60, 120, 150, 150]


def test_after_an_answer_the_next_outage_counts_from_its_own_beginning() -> None:
    backoff = Backoff()
    assert backoff.wait("Lost", 1.0, 0.0) == 1
    assert backoff.wait("Lost", 1.0, 800.0) == 100
    backoff.reset()
    assert backoff.wait("Lost", 1.0, 900.0) == 1


async def run(
    fake: FakeBroker, handler: Callable[[Connection, Connected], object], count: int
) -> tuple[list[LinkState], list[float]]:
    """Run the loop for `count` attempts; return its states and how long it slept."""
    states: list[LinkState] = []
    slept: list[float] = []

    class Clock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            self.advance(16)  # slower than asked, so that a few attempts make a long outage

    with pytest.raises(Stop):
        await run_link(
            fake.dial,
            attempts(count),
            handler,  # type: ignore[arg-type]
            Clock(),
            on_state=states.append,
            chance=lambda: 1.0,
        )
    return states, slept


async def test_a_connection_lost_before_it_settled_is_a_failure_like_any_other() -> None:
    async def handler(connection: Connection, _: Connected) -> None:
        raise LinkLost("cut", reason="Lost")

    states, slept = await run(broker(), handler, 3)
    assert slept == [1, 2, 4]
    assert [state.doing for state in states][:3] == ["connecting", "connected", "waiting"]
    assert (states[-2].failures, states[-2].reason, states[-2].wait) == (3, "Lost", 4)


async def test_the_wait_begins_again_after_a_hello_was_answered() -> None:
    served: list[Connected] = []

    async def handler(connection: Connection, connected: Connected) -> None:
        served.append(connected)
        if len(served) == 3:
            async with anyio.create_task_group() as group:
                group.start_soon(answered)
        raise LinkLost("cut", reason="Lost")

    async def answered() -> None:
        settled()

    states, slept = await run(broker(), handler, 4)
    assert slept == [1, 2, 1, 2]
    assert [state.doing for state in states].count("settled") == 1


async def test_every_attempt_asks_for_new_options_and_every_connection_is_closed() -> None:
    fake = broker()
    made: list[str] = []

    async def handler(connection: Connection, _: Connected) -> None:
        assert fake.clients == {CLIENT.client_id}
        raise LinkLost("cut", reason="Lost")

    with pytest.raises(Stop):
        await run_link(fake.dial, attempts(3, lambda: made.append("options")), handler, FakeClock(), chance=lambda: 0.0)
    assert len(made) == 3
    assert fake.clients == set()


async def test_a_loss_inside_task_groups_of_the_handler_is_a_loss() -> None:
    async def handler(connection: Connection, _: Connected) -> None:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
            outer.start_soon(connection.receive)
            inner.start_soon(connection.receive)
            fake.drop()

    fake = broker()
    states, slept = await run(fake, handler, 2)
    assert slept == [1, 2]
    assert states[-1].reason == "Lost"


async def test_a_bug_in_a_handler_ends_the_loop_and_closes_the_connection() -> None:
    fake = broker()

    async def handler(connection: Connection, _: Connected) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_link(fake.dial, lambda: CLIENT, handler, FakeClock())
    assert fake.clients == set()


@pytest.mark.parametrize(("settles", "waits"), [(True, 0), (False, 3)])
async def test_a_handler_that_returns_gets_a_new_connection_at_once_if_it_had_settled(
    settles: bool, waits: int
) -> None:
    async def handler(connection: Connection, _: Connected) -> None:
        if settles:
            settled()

    states, slept = await run(broker(), handler, 3)
    assert len(slept) == waits
    assert states[-1].reason == "Done"


async def test_nobody_connects_before_the_wait_is_over() -> None:
    fake, clock = broker(), FakeClock()
    fake.cut()
    states: list[LinkState] = []

    async def handler(connection: Connection, _: Connected) -> None:
        await connection.receive()

    def waits() -> int:
        return [state.doing for state in states].count("waiting")

    async def loop() -> None:
        await run_link(fake.dial, lambda: CLIENT, handler, clock, on_state=states.append, chance=lambda: 1.0)

    async with Running(loop):
        await eventually(lambda: waits() == 1)
        clock.advance(1.1)
        await eventually(lambda: waits() == 2)
        fake.heal()
        clock.advance(1.1)  # of the two seconds
        await anyio.lowlevel.checkpoint()
        assert not fake.clients
        clock.advance(1.1)
        await eventually(lambda: fake.clients)


async def test_settled_outside_of_a_handler_is_a_mistake() -> None:
    with pytest.raises(MisuseError):
        settled()
