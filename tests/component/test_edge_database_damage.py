"""A damaged edge.db: found, set aside, and nothing lost that a side copy knows."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from holdfast_edge.store import copies
from holdfast_edge.store.edge import KEPT_DAMAGED, NAME, open_edge
from holdfast_protocol.errors import PermanentError, TransientError, WireError
from holdfast_protocol.wire import target
from support.builders import HUB, STRANGER, a_target, file_body
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite

pytestmark = pytest.mark.anyio


def overwrite(path: Path, at: int, length: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(length))


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


async def converge(folder: Path, provider: FakeProvider, generation: int = 1, *names: str) -> None:
    it = TestSite(folder, provider)
    async with Running(*it.loops()):
        await it.give(
            a_target(*(file_body(name, f"/srv/{name}") for name in names or ("a", "b")), generation=generation)
        )
        await it.reaches("Converged", generation)
        await eventually(lambda: len(it.outbox.records) == 3)
    it.close()


DAMAGE = {
    "not a database": lambda path: path.write_bytes(b"hello"),
    "header overwritten": lambda path: overwrite(path, 0),
    "a page overwritten": lambda path: overwrite(path, 8192),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a flipped bit in a target": lambda path: change(
        path, "UPDATE targets SET payload = CAST(replace(payload, '/srv', '/src') AS BLOB)"
    ),
    "a target that is none": lambda path: change(path, "UPDATE targets SET payload = x'00ff'"),
    "a row that is none": lambda path: change(path, "UPDATE owned SET body = x'00ff'"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.invariant("target-never-goes-back")
async def test_a_site_goes_on_after_its_database_was_damaged(tmp_path: Path, damage: object) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider, 2)
    damage(tmp_path / NAME)  # type: ignore[operator]
    again = TestSite(tmp_path, provider)
    assert again.site.targets.current is not None
    assert again.site.owned.things.keys() == {"File/a", "File/b"}
    done = provider.changes()
    async with Running(*again.loops()):
        await again.reaches("Converged", 2)
        assert provider.changes() == done
        with pytest.raises(WireError, match="older"):
            again.site.targets.open(target.seal(a_target(generation=1), [HUB]))
        await again.give(a_target(file_body("a", "/srv/a"), generation=3))
        await again.reaches("Converged", 3)
    again.close()
    assert set(provider.world) == {"File/a"}


async def test_what_was_damaged_is_kept_aside_and_said(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    for turn in range(KEPT_DAMAGED + 2):
        (tmp_path / NAME).write_bytes(b"damage %d" % turn)
        again = TestSite(tmp_path, provider)
        async with Running(*again.loops()):
            await again.reaches("Converged", 1)
            status = again.site.board.status
            assert status is not None
            assert any("set aside as edge.db.damaged" in problem for problem in status.problems)
        again.close()
    kept = sorted(tmp_path.glob(f"{NAME}.damaged-*"))
    assert [path.read_bytes() for path in kept] == [b"damage %d" % turn for turn in (2, 3, 4)]


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_with_every_copy_gone_nothing_is_removed_and_a_new_target_is_taken(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    for path in (tmp_path / NAME, tmp_path / copies.TARGET, tmp_path / copies.OWNED):
        path.write_bytes(b"\x00garbage")
    done = provider.changes()
    again = TestSite(tmp_path, provider)
    async with Running(*again.loops()):
        await again.reaches("NoTarget")
        await again.passes(60)
        await again.never(lambda: provider.changes() != done)
        await again.give(a_target(file_body("c", "/srv/c"), generation=7))
        await again.reaches("Converged", 7)
    again.close()
    assert set(provider.world) == {"File/a", "File/b", "File/c"}


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_with_only_the_target_gone_what_is_owned_stays(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    (tmp_path / NAME).unlink()
    (tmp_path / copies.TARGET).unlink()
    done = provider.changes()
    again = TestSite(tmp_path, provider)
    async with Running(*again.loops()):
        await again.reaches("NoTarget")
        await again.passes(60)
        await again.never(lambda: provider.changes() != done)
    again.close()


@pytest.mark.invariant("target-never-goes-back")
async def test_an_old_database_put_back_is_brought_up_to_the_copies(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider, 1, "a")
    shutil.copy(tmp_path / NAME, tmp_path / "backup")
    await converge(tmp_path, provider, 2, "a", "b")
    shutil.copy(tmp_path / "backup", tmp_path / NAME)
    again = TestSite(tmp_path, provider)
    assert again.site.targets.current is not None
    assert again.site.targets.current.generation == 2
    assert again.site.owned.things.keys() == {"File/a", "File/b"}
    again.close()


async def test_a_copy_nobody_signed_is_not_used_and_not_kept(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    good = (tmp_path / copies.TARGET).read_bytes()
    (tmp_path / copies.TARGET).write_bytes(target.seal(a_target(generation=99), [STRANGER]))
    again = TestSite(tmp_path, provider)
    assert again.site.targets.current is not None
    assert again.site.targets.current.generation == 1
    assert (tmp_path / copies.TARGET).read_bytes() == good
    again.close()


async def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    with (tmp_path / copies.OWNED).open("ab") as file:
        file.write(b'{"key":"File/c","thing":{"bo')
    (tmp_path / NAME).unlink()
    again = TestSite(tmp_path, provider)
    assert again.site.owned.things.keys() == {"File/a", "File/b"}
    again.close()


async def test_a_full_disk_at_start_stops_no_repair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = FakeProvider("File")
    await converge(tmp_path, provider)
    (tmp_path / copies.TARGET).unlink()

    def full(path: Path, data: bytes) -> None:
        raise TransientError("full", reason="DiskFull")

    monkeypatch.setattr(copies, "write", full)
    again = TestSite(tmp_path, provider)
    del provider.world["File/a"]
    async with Running(*again.loops()):
        await eventually(lambda: again.site.board.status and len(again.site.board.status.problems) >= 2)
        monkeypatch.undo()
        await again.passes(30)
        await again.reaches("Converged")
    again.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    opened = open_edge(tmp_path)
    with opened.database.reading() as connection:
        connection.execute("PRAGMA user_version = 99")
    opened.database.close()
    with pytest.raises(PermanentError, match="schema 99"):
        open_edge(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))
