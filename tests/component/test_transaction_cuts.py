"""A target's transaction through kills and power cuts at any of its points."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.store.edge import NAME
from holdfast_protocol.wire.target import Target
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite
from support.transactions import DENIED, NEW, passes_until, progress, settle, world

pytestmark = pytest.mark.anyio


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


class Crash:
    """Runs a site until its transaction comes to a stage for the first time, then kills it."""

    def __init__(self, folder: Path, provider: FakeProvider, stage: str, *, damage: bool = False) -> None:
        self.folder, self.provider, self.stage, self.damage = folder, provider, stage, damage

    async def run(self, target: Target) -> TestSite:
        it = TestSite(self.folder, self.provider)
        reached = anyio.Event()
        move = it.site.transactions.move

        async def moved(transaction: Any, *, at: int) -> None:
            await move(transaction, at=at)
            if transaction.stage == self.stage:
                reached.set()
                await anyio.sleep_forever()

        it.site.transactions.move = moved  # type: ignore[method-assign]
        async with Running(*it.loops()):
            await it.give(target)
            for _ in range(30):
                await eventually(lambda: reached.is_set() or it.all_sleep, "the stage, or the loops to wait for time")
                if reached.is_set():
                    break
                it.clock.advance(30)
        assert reached.is_set(), f"never {self.stage}"
        it.close()
        if self.damage:
            (self.folder / NAME).write_bytes(b"hello")
        return TestSite(self.folder, self.provider, clock=it.clock, boot="next")


@pytest.mark.parametrize("damage", [False, True], ids=["killed", "database lost"])
@pytest.mark.parametrize("stage", ["preparing", "applying", "verifying", "stable"])
async def test_a_good_target_gets_through_a_kill_at_any_stage(tmp_path: Path, stage: str, damage: bool) -> None:
    provider = FakeProvider("File")
    first = TestSite(tmp_path, provider)
    async with Running(*first.loops()):
        await settle(first)
    first.close()
    again = await Crash(tmp_path, provider, stage, damage=damage).run(NEW)
    async with Running(*again.loops()):
        await passes_until(again, "stable")
        assert world(again) == {"File/a": "2", "File/c": "2"}
        assert again.site.targets.last_good == NEW.digest
    again.close()


@pytest.mark.parametrize("damage", [False, True], ids=["killed", "database lost"])
@pytest.mark.parametrize("stage", ["preparing", "applying", "rolling-back", "rolled-back"])
async def test_a_bad_target_is_gone_back_from_through_a_kill_at_any_stage(
    tmp_path: Path, stage: str, damage: bool
) -> None:
    provider = FakeProvider("File")
    first = TestSite(tmp_path, provider)
    async with Running(*first.loops()):
        await settle(first)
    first.close()
    provider.fails["File/c"] = [DENIED] if stage.startswith("roll") else [DENIED] * 2
    again = await Crash(tmp_path, provider, stage, damage=damage).run(NEW)
    async with Running(*again.loops()):
        await passes_until(again, "rolled-back")
        assert world(again) == {"File/a": "1", "File/b": "1"}
        assert progress(again).bad == (NEW.digest,)
        done = provider.changes()
        await again.passes(3600)
        await again.never(lambda: provider.changes() != done)
    again.close()


class Cut:
    """A copy of the disk and the machine as they are at one point of a change, taken while nothing is written."""

    def __init__(self, site: TestSite, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.world: dict[str, Any] | None = None

    def take(self) -> None:
        with self.site.database.reading():
            shutil.copytree(self.site.database.path.parent, self.folder)
        self.world = dict(self.site.provider.world)


@pytest.mark.invariant("intent-before-effect")
@pytest.mark.parametrize("point", ["intent", "effect", "outcome"])
@pytest.mark.parametrize("key", ["File/a", "File/b", "File/c"])
async def test_a_power_cut_between_any_two_points_of_a_change_ends_in_the_new_state(
    tmp_path: Path, key: str, point: str
) -> None:
    first = TestSite(tmp_path / "one")
    cut = Cut(first, tmp_path / "two")
    async with Running(*first.loops()):
        await settle(first)
        journal = first.site.executor._journal
        begin, end = journal.begin, journal.end

        async def begun(change: Any, graph: Any, *, at: int) -> int:
            number = await begin(change, graph, at=at)
            if change.key == key and point == "intent":
                cut.take()
            return number

        async def ended(number: int, change: Any, attempt: Any, applied: Any, *, at: int) -> None:
            if change.key == key and point == "effect":
                cut.take()
            await end(number, change, attempt, applied, at=at)
            if change.key == key and point == "outcome":
                cut.take()

        journal.begin, journal.end = begun, ended  # type: ignore[method-assign]
        await first.give(NEW)
        await eventually(lambda: cut.world is not None)
    first.close()
    provider = FakeProvider("File")
    assert cut.world is not None
    provider.world = cut.world
    again = TestSite(tmp_path / "two", provider, clock=first.clock, boot="next")
    async with Running(*again.loops()):
        await again.reaches("Converged", 2)
        assert world(again) == {"File/a": "2", "File/c": "2"}
        assert again.site.owned.things.keys() == {"File/a", "File/c"}
    again.close()
