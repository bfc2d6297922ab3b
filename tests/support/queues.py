"""A broker's queue, our input and the outbox: what the tests of both versions of AMQP share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast_edge.ingest.intake import Intake
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import TransientError
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState
from support.clock import Running, eventually
from support.devices import stored_readings
from support.waiting import HANGS_S

Run = Callable[..., Awaitable[None]]  # run_amqp or run_amqp10


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.05))


@asynccontextmanager
async def ingesting(run: Run, feed: Any, topics: str, outbox: Outbox) -> AsyncIterator[list[LinkState]]:
    """Have an input run meanwhile; yield its states once it is settled."""
    states: list[LinkState] = []
    async with Running(lambda: _looped(run, feed, topics, outbox, states)):
        await eventually(lambda: settled(states))
        yield states


async def why_it_waits(run: Run, feed: Any, outbox: Outbox) -> str:
    """Return the reason for which an input waits, once it does."""
    states: list[LinkState] = []
    async with Running(lambda: _looped(run, feed, "a/#", outbox, states)):
        await eventually(lambda: states and states[-1].doing == "waiting")
        return states[-1].reason


async def _looped(run: Run, feed: Any, topics: str, outbox: Outbox, states: list[LinkState]) -> None:
    clock = Hasty()
    await run(feed, Intake("source/amqp", plain((topics,)), outbox, clock), clock, on_state=states.append)


def settled(states: list[LinkState]) -> int:
    return [state.doing for state in states].count("settled")


async def values(outbox: Outbox) -> list[Any]:
    return [reading.value for reading in await stored_readings(outbox)]


async def holding(waiting: Callable[[], Awaitable[int]], number: int) -> None:
    """Wait until so many messages are back at the broker, which takes a moment to give up who had them."""
    with anyio.fail_after(HANGS_S):
        while await waiting() != number:
            await anyio.sleep(0.01)


async def emptied(
    waiting: Callable[[], Awaitable[int]], ingest: Callable[[], AbstractAsyncContextManager[list[LinkState]]]
) -> None:
    """Wait until the broker has nothing left. What was stored in the last moment of an input and not acknowledged any more
    comes again, to the next one, which knows it."""
    with anyio.fail_after(HANGS_S):
        while await waiting():
            async with ingest():
                while await waiting():
                    await anyio.sleep(0.01)


def refuse_to_store(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Have the outbox refuse readings from now on; return what grows with each try."""
    tried: list[bool] = []

    async def refuse(*_: Any, **__: Any) -> None:
        tried.append(True)
        raise TransientError("no space left", reason="DiskFull")

    monkeypatch.setattr(outbox, "append_readings", refuse)
    return tried


def hang_when_stored(monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Have every input hang between commit and answer from now on; return what is set when one does."""
    dead, taken = anyio.Event(), Intake.take

    async def take_and_hang(self: Intake, messages: Any) -> Any:
        await taken(self, messages)
        dead.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(Intake, "take", take_and_hang)
    return dead
