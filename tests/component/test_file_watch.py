"""File and what it is told of: unchanged files are not read, changed ones wake."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_edge.providers.disk import looks, watch
from holdfast_edge.providers.files.provider import FileProvider
from holdfast_protocol.wire.target import Resource
from support.clock import eventually
from support.files import NOTHING, converge, file, fresh, look
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir(mode=0o755)
    return tmp_path / "root"


@pytest.fixture
def provider(root: Path, tmp_path: Path) -> FileProvider:
    return fresh(root, tmp_path)


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    after = len(os.listdir("/proc/self/fd"))
    assert after <= before + 8, "descriptors leak"  # the event loop and its threads hold a few


@pytest.fixture(autouse=True)
def watches_come_as_soon_as_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_AGAIN_S", 0.1)  # others on this machine may have taken all it has


@pytest.fixture
def many(root: Path) -> list[Resource]:
    return [file(root / f"d{n % 7}/f{n}", f"content {n}", name=f"f{n}", mode="0644") for n in range(120)]


async def test_looking_at_unchanged_files_opens_none_of_them(
    provider: FileProvider, many: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_SETTLED_NS", -1)  # these files are too young to be remembered otherwise
    for resource in many:
        await provider.apply(resource, NOTHING)
    await provider.observe(many, NOTHING)
    opened = provider._looks.reads
    found = await provider.observe(many, NOTHING)
    assert all(seen.as_wanted for seen in found.values())
    assert provider._looks.reads == opened


class Wakes:
    def __init__(self) -> None:
        self._event = anyio.Event()

    def __call__(self) -> None:
        self._event.set()

    async def one(self) -> None:
        with anyio.fail_after(HANGS_S):
            await self._event.wait()
        self._event = anyio.Event()

    async def none(self, within: float = 0.1) -> None:
        with anyio.move_on_after(within):
            await self._event.wait()
            raise AssertionError("woken for nothing")

    async def settle(self) -> None:
        while True:
            self._event = anyio.Event()
            with anyio.move_on_after(0.1) as calm:
                await self._event.wait()
            if calm.cancelled_caught:
                return


async def reshaped(provider: FileProvider) -> None:
    """Return once the watches are what they shall be: the second shaping begins when the first has ended."""
    for _ in range(2):
        provider._watch.reshape()
        await eventually(lambda: not provider._watch._changed.is_set(), "the watches to be looked over")


@pytest.mark.invariant("no-content-in-wakeups")
async def test_every_change_of_a_file_wakes_and_nothing_else_does(provider: FileProvider, root: Path) -> None:
    path = root / "a/b/x"
    resource = file(path)
    await converge(provider, resource)
    wakes = Wakes()
    (root / "a/b/y").write_text("")

    def renamed_away() -> None:
        os.rename(root / "a", root / "z")

    def renamed_back() -> None:
        os.rename(root / "z", root / "a")

    def replaced() -> None:
        (root / "a/b/other").write_text("two")
        os.rename(root / "a/b/other", path)

    def all_gone() -> None:
        path.unlink()
        (root / "a/b/y").unlink()
        (root / "a/b").rmdir()
        (root / "a").rmdir()

    def back() -> None:
        path.parent.mkdir(parents=True)

    changes: list[Callable[[], object]] = [
        lambda: path.write_text("two"),
        lambda: path.chmod(0o600),
        replaced,
        path.unlink,
        lambda: path.write_text("three"),
        renamed_away,
        renamed_back,
        lambda: path.write_text("four"),
        all_gone,
        back,
        lambda: path.write_text("five"),
    ]
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wakes)
        await wakes.one()
        for change in changes:
            await wakes.settle()
            change()
            await wakes.one()
        await reshaped(provider)
        await wakes.settle()
        (root / "a/b/unrelated").write_text("")
        (root / "unrelated").write_text("")
        await wakes.none()
        group.cancel_scope.cancel()
    await converge(provider, resource)


async def test_the_watch_follows_files_that_come_later(provider: FileProvider, root: Path) -> None:
    wakes = Wakes()
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wakes)
        await converge(provider, file(root / "late/x"))
        await wakes.settle()
        (root / "late/x").write_text("drift")
        await wakes.one()
        group.cancel_scope.cancel()


async def test_a_file_of_ours_outside_the_folders_of_today_costs_no_other_its_events(
    root: Path, tmp_path: Path
) -> None:
    narrow = root / "narrow"
    narrow.mkdir()
    await converge(fresh(root, tmp_path), file(root / "old"))
    provider = FileProvider(roots=[narrow], denied=[], state=tmp_path / "state")
    await look(provider, file(narrow / "new", name="new"))
    wakes = Wakes()
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wakes)
        await wakes.settle()
        (narrow / "new").write_text("two\n")
        await wakes.one()
        group.cancel_scope.cancel()
