"""Loops of what is kept: begun, ended and begun anew with it, each alone."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from holdfast_edge.ingest.loops import run_anew, run_loops
from holdfast_edge.store.sources import Kept, Sources
from holdfast_protocol.errors import HoldfastError, PermanentError, TransientError
from holdfast_protocol.runtime.link import LONGEST
from holdfast_protocol.wire.names import ResourceKey
from support.clock import FakeClock, Running, eventually

pytestmark = pytest.mark.anyio
ONE, TWO = ResourceKey("Bridge/one"), ResourceKey("Bridge/two")


def kept(key: ResourceKey, digest: str = "a") -> Kept:
    return Kept(key, key.partition("/")[2], {}, {}, digest)


class World:
    """What loops were begun and ended, in order."""

    def __init__(self, folder: Path) -> None:
        self.files = Sources(folder)
        self.told: list[str] = []
        self.farewell = anyio.Event()
        self.farewell.set()

    async def run(self) -> None:
        await run_loops(self.files, self.run_one, self.settle)

    async def run_one(self, each: Kept) -> None:
        self.told.append(f"begin {each.name} {each.digest}")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.farewell.wait()
            self.told.append(f"end {each.name} {each.digest}")

    async def settle(self, wanted: Mapping[ResourceKey, Kept]) -> None:
        self.told.append("settle " + " ".join(sorted(each.name for each in wanted.values())))


async def test_what_is_wanted_otherwise_ends_before_it_begins_anew_and_the_rest_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.put(kept(ONE))
    world.files.put(kept(TWO))
    async with Running(world.run):
        await eventually(lambda: len(world.told) == 3)
        world.files.put(kept(TWO, "b"))
        world.files.tell()
        await eventually(lambda: len(world.told) == 6)
        world.files.forget(ONE)
        world.files.tell()
        await eventually(lambda: len(world.told) == 8)
        told = list(world.told)
    assert told == [
        "settle one two",
        *sorted(told[1:3]),
        "end two a",
        "settle one two",
        "begin two b",
        "end one a",
        "settle two",
    ]
    assert sorted(told[1:3]) == ["begin one a", "begin two a"]


async def test_what_is_let_go_and_kept_again_before_anybody_looks_begins_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.put(kept(ONE))
    async with Running(world.run):
        await eventually(lambda: world.told == ["settle one", "begin one a"])
        world.files.forget(ONE)
        world.files.put(kept(ONE))
        world.files.tell()
        await eventually(lambda: world.told[2:] == ["end one a", "settle one", "begin one a"])


async def test_what_changes_while_another_takes_its_time_to_end_is_seen_afterwards(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.files.put(kept(ONE))
    async with Running(world.run):
        await eventually(lambda: world.told == ["settle one", "begin one a"])
        world.farewell = anyio.Event()
        world.files.put(kept(ONE, "b"))
        world.files.tell()
        await anyio.wait_all_tasks_blocked()
        world.files.forget(ONE)
        world.files.put(kept(ONE, "b"))
        world.files.tell()
        world.farewell.set()
        await eventually(lambda: world.told[-1] == "begin one b" and world.told.count("begin one b") == 2)
        world.farewell.set()


async def test_a_loop_that_fails_is_begun_again_ever_later_until_it_lasted() -> None:
    clock, waits, runs = FakeClock(), list[float](), 0

    class Recording(FakeClock):
        def boottime(self) -> float:
            return clock.boottime()

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            clock.advance(seconds)
            if len(waits) == 30:
                await anyio.sleep_forever()

    async def serve() -> None:
        nonlocal runs
        runs += 1
        clock.advance(2 * LONGEST if runs == 29 else 1)
        raise TransientError("no", reason="No")

    async with Running(lambda: run_anew(serve, lambda _: None, Recording())):
        await eventually(lambda: len(waits) == 30)
    assert waits[:28] == sorted(waits[:28])
    assert waits[27] > 2 * waits[0] == 2 * waits[28]


async def test_the_end_that_is_waited_for_is_raised_and_every_other_is_told() -> None:
    errors: list[HoldfastError] = [PermanentError("x", reason="Damaged"), TransientError("y", reason="Renewed")]
    clock, said = FakeClock(), list[str]()

    async def serve() -> None:
        if errors:
            async with anyio.create_task_group():
                raise errors.pop()

    async def run() -> None:
        with pytest.raises(PermanentError, match="x"):
            await run_anew(serve, lambda error: said.append(error.reason), clock, until="Damaged")
        said.append("over")

    async with Running(run):
        await eventually(lambda: clock.sleepers == 1)
        clock.advance(1)
        await eventually(lambda: said == ["Renewed", "Damaged", "over"])
