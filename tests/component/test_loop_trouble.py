"""What goes wrong in turns of the loop: a change that does not end, a disk that refuses what a look has to write."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.messages import Status
from holdfast_protocol.wire.target import Resource
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite
from support.transactions import NEW, at, progress, settle, world

pytestmark = pytest.mark.anyio
FULL = TransientError("no space left on device", reason="DiskFull")


class Hanging(FakeProvider):
    """One whose change of a key ends when the test says so, and not before, whoever gives it up."""

    def __init__(self) -> None:
        super().__init__("File")
        self.hangs = ""
        self.begun = self.free = anyio.Event()

    async def apply(self, resource: Resource, scope: Scope) -> None:
        if resource.key == self.hangs:
            self.begun.set()
            with anyio.CancelScope(shield=True):
                await self.free.wait()
        await super().apply(resource, scope)


@pytest.fixture
def provider() -> Hanging:
    return Hanging()


@pytest.fixture
def it(tmp_path: Path, provider: Hanging) -> Iterator[TestSite]:
    site = TestSite(tmp_path, provider)
    yield site
    site.close()


async def passes(it: TestSite, seconds: float) -> None:
    """Let time pass once both loops wait for it, and look again: one lane goes on all the while."""
    await eventually(lambda: it.clock.sleepers >= 2 and not it.site.wakes.pending, "the loops to wait")
    it.clock.advance(seconds)
    await it.site.fresh_view()


async def comes_to(it: TestSite, phase: str) -> None:
    """Let half minutes pass until the phase is there."""
    for _ in range(40):
        if progress(it).phase == phase:
            return
        await passes(it, 30)
    raise TimeoutError(f"waited for {phase}, it is {progress(it).phase}")


@asynccontextmanager
async def hanging(it: TestSite, provider: Hanging) -> AsyncIterator[None]:
    """Have the change of a new target hang until the end."""
    provider.begun, provider.free, provider.hangs = anyio.Event(), anyio.Event(), "File/a"
    await it.give(NEW)
    try:
        await eventually(provider.begun.is_set, "the change to begin")
        yield
    finally:
        provider.hangs = ""
        provider.free.set()


async def test_a_change_that_does_not_end_fails_its_target_and_then_the_way_back(
    it: TestSite, provider: Hanging
) -> None:
    async with Running(*it.loops()):
        await settle(it)
        async with hanging(it, provider):
            await comes_to(it, "rolling-back")
            cause = progress(it).cause
            assert cause is not None
            assert (cause.phase, cause.resource, cause.reason) == ("apply", "File/a", "Hangs")
            await comes_to(it, "stuck")
        await at(it, "rolled-back", 2)
        assert world(it) == {"File/a": "1", "File/b": "1"}


async def test_a_change_that_takes_long_and_ends_fails_nothing(it: TestSite, provider: Hanging) -> None:
    async with Running(*it.loops()):
        await settle(it)
        async with hanging(it, provider):
            for _ in range(3):
                await passes(it, 20)
            assert progress(it).phase == "applying"
        await at(it, "verifying", 2)


async def test_a_status_that_the_disk_does_not_take_says_so_and_then_no_more(
    it: TestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, full = it.site.memory.save_status, [True]

    async def save(status: Status) -> None:
        if full[0]:
            raise FULL
        await really(status)

    def problems() -> tuple[str, ...]:
        status = it.site.board.status
        return status.problems if status is not None else ()

    monkeypatch.setattr(it.site.memory, "save_status", save)
    async with Running(*it.loops()):
        await eventually(lambda: any("DiskFull: cannot write" in each for each in problems()), "the problem")
        for _ in range(3):
            await it.rests()
            shown = it.site.board.status
            await it.passes(30)
            await it.never(lambda shown=shown: it.site.board.status is not shown)
        full[0] = False
        await it.passes(30)
        await eventually(lambda: not problems(), "no problem")
