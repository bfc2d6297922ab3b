"""The floor of time: a clock that lies low is lifted, one that is synchronised believed, and nothing else changes."""

from pathlib import Path

import pytest

from holdfast_edge.store import copies, floor
from holdfast_edge.store.floor import BUILT, FloorClock
from holdfast_protocol.errors import TransientError
from support.clock import FakeClock, Running, eventually

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000


def dead(folder: Path, *, boottime: float = 5.0) -> tuple[FakeClock, FloorClock]:
    """Return the clock of a machine without a battery, and ours over it."""
    clock = FakeClock(wall=0.0, boottime=boottime)
    return clock, FloorClock(clock, folder, synced=lambda: False)


def test_a_clock_that_starts_in_1970_is_lifted_to_what_is_known_and_goes_on_from_there(tmp_path: Path) -> None:
    clock, ours = dead(tmp_path)
    assert (ours.wall(), ours.quality()) == (BUILT, "floor")
    ours.saw(NOW * 1000)
    clock.advance(10)
    ours.saw((NOW + 2) * 1000)  # older than what is known by now
    assert ours.wall() == NOW + 10
    clock.set_wall(NOW + 50)
    assert (ours.wall(), ours.quality()) == (NOW + 50, "unknown")


def test_a_synchronised_clock_is_believed_whatever_was_signed(tmp_path: Path) -> None:
    clock = FakeClock(wall=NOW)
    ours = FloorClock(clock, tmp_path, synced=lambda: True)
    ours.saw((NOW + 400 * 24 * 3600) * 1000)
    assert (ours.wall(), ours.quality()) == (NOW, "synced")
    assert ours.floor() < NOW


def test_a_time_no_clock_can_have_teaches_nothing(tmp_path: Path) -> None:
    _, ours = dead(tmp_path)
    for nonsense in (2**62, -(2**62), 0):
        ours.saw(nonsense)
    assert ours.wall() == BUILT


async def test_the_floor_outlives_a_power_cut(tmp_path: Path) -> None:
    clock, ours = dead(tmp_path)
    ours.saw(NOW * 1000)
    async with Running(ours.run_keeping):
        await eventually(lambda: clock.sleepers)
        clock.advance(floor.KEEP_EVERY)
        await eventually((tmp_path / copies.FLOOR).exists)
    _, again = dead(tmp_path, boottime=1.0)
    assert again.wall() == NOW + floor.KEEP_EVERY


@pytest.mark.parametrize("torn", [b"", b"x", b"-5", b"1e9", b"9" * 30, b"\xff\x00"], ids=range(6))
def test_a_floor_that_cannot_be_read_is_none(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / copies.FLOOR).write_bytes(torn)
    _, ours = dead(tmp_path)
    assert ours.wall() in (BUILT, floor.LATEST)


def test_a_disk_that_refuses_the_floor_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise TransientError("full", reason="DiskFull")

    _, ours = dead(tmp_path)
    monkeypatch.setattr(copies, "write", full)
    ours.keep()
    monkeypatch.undo()
    ours.saw(NOW * 1000)
    ours.keep()
    assert dead(tmp_path)[1].wall() == NOW


def test_the_kernel_says_whether_its_clock_is_synchronised() -> None:
    assert floor.is_synced() in (True, False)
