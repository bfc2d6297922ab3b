"""Holds end, whatever clocks do."""

import pytest

from holdfast_edge.core.holds import Kept, Moment, active, covering, remaining
from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.names import ResourceKey

WALL = 1_790_000_000.0


def kept(name: str = "h", seconds: float = 600.0, *resources: str) -> Kept:
    hold = Hold(name, "why", int((WALL + seconds) * 1000), "uid 0", resources)
    return Kept(hold, "boot", made_at=100.0, seconds=seconds)


def now(after: float, wall: float | None = None, boot: str = "boot") -> Moment:
    return Moment(WALL + after if wall is None else wall, 100.0 + after, boot)


@pytest.mark.invariant("every-hold-expires")
def test_a_hold_stands_for_its_time_and_not_longer() -> None:
    assert remaining(kept(), now(599)) == 1
    assert active([kept()], now(600)) == ()


@pytest.mark.invariant("every-hold-expires")
@pytest.mark.parametrize("wall", [0.0, WALL - 1e9, WALL + 1e9])
def test_a_clock_that_jumps_makes_a_hold_neither_shorter_nor_longer(wall: float) -> None:
    assert remaining(kept(), now(300, wall)) == 300
    assert remaining(kept(), now(600, wall)) == 0


@pytest.mark.invariant("every-hold-expires")
def test_after_a_reboot_into_1970_a_hold_ends_after_its_length_at_the_latest() -> None:
    assert remaining(kept(), Moment(5.0, 5.0, "next")) == 595
    assert remaining(kept(), Moment(601.0, 601.0, "next")) == 0


def test_after_a_reboot_with_a_good_clock_a_hold_ends_when_it_was_said_to() -> None:
    assert remaining(kept(), Moment(WALL + 590, 20.0, "next")) == 10
    assert remaining(kept(), Moment(WALL + 601, 20.0, "next")) == 0


def test_a_hold_covers_what_it_names_or_everything() -> None:
    named, everything = kept("h1", 60.0, "File/a").hold, kept("h2").hold
    assert covering(ResourceKey("File/a"), [named]) == named
    assert covering(ResourceKey("File/b"), [named]) is None
    assert covering(ResourceKey("File/b"), [named, everything]) == everything


def test_holds_are_listed_by_their_end() -> None:
    assert [hold.id for hold in active([kept("late", 900), kept("soon", 60)], now(0))] == ["soon", "late"]
