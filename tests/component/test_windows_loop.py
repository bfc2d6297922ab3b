"""The loop with windows and holds: what waits, what goes on, and what nobody has to remember."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.control import planned
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.target import Content, HubHold, Target, resource
from holdfast_protocol.wire.windows import carry
from support.builders import a_target, file_body
from support.clock import FakeClock, Running, eventually
from support.site import TestSite

pytestmark = pytest.mark.anyio
HOUR = 3600.0
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
NIGHTS = {"schedule": {"cron": "0 2 * * *", "duration": "2h"}, "gates": ["targets"], "timeZone": "UTC"}


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path, clock=FakeClock(wall=NOON))
    yield site
    site.close()


def windowed(
    *names: str, generation: int = 1, content: str = "x", holds: tuple[HubHold, ...] = (), **windows: dict[str, Any]
) -> Target:
    bodies = [file_body(name, f"/srv/{name}", content) for name in names]
    made = Content(
        resources=tuple(resource(body, instance="Shop/a") for body in bodies),
        windows=tuple(carry(name, spec) for name, spec in sorted(windows.items())),
        holds=holds,
    )
    return a_target(content=made, generation=generation)


def held(name: str = "h1", seconds: int = 7200, until: float = NOON + 7200, resources: tuple[str, ...] = ()) -> HubHold:
    return HubHold(name, "commissioning", int(until * 1000), seconds, "ann", resources)


def audits(it: TestSite) -> list[str]:
    return [record.body["what"] for _, record in it.outbox.records if record.kind == "Audit"]


def alarms(it: TestSite) -> list[str]:
    return [record.body["reason"] for _, record in it.outbox.records if record.kind == "Alarm"]


async def until_condition(it: TestSite, key: str, *wanted: str) -> None:
    def found() -> bool:
        status = it.site.board.status
        shown = status.resources if status is not None else ()
        return any(each.key == key and (each.condition.type, each.condition.reason) == wanted for each in shown)

    await eventually(found, f"{key} to be {wanted}")


async def test_a_new_target_waits_for_its_window_says_so_and_is_applied_when_it_opens(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", nights=NIGHTS))
        await until_condition(it, "File/a", "Waiting", "Window")
        status = it.site.board.status
        assert status is not None
        assert status.state == "Progressing"
        (gate,) = status.gates
        assert (gate.gate, gate.open, gate.message) == ("targets", False, "opens 2026-06-02 02:00 UTC")
        (row,) = planned(await it.site.fresh_view(), it.site)
        assert row["when"] == "waiting"
        assert "next chance 2026-06-02T02:00:00Z" in row["why"]
        await it.passes(14 * HOUR - 60)
        await it.never(lambda: it.provider.changes())
        await it.passes(60)
        await it.reaches("Converged")
    assert it.provider.changes() == [("apply", "File/a")]


async def test_drift_has_a_gate_of_its_own(it: TestSite) -> None:
    drift = {**NIGHTS, "gates": ["drift"]}
    async with Running(*it.loops()):
        await it.give(windowed("a", nights=drift))
        await it.reaches("Converged")  # no window names targets
        del it.provider.world["File/a"]
        it.provider.tell()
        await until_condition(it, "File/a", "Waiting", "Window")
        await it.passes(14 * HOUR)
        await eventually(lambda: "File/a" in it.provider.world)


async def test_removals_wait_for_the_gate_of_targets(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", "b"))
        await it.reaches("Converged")
        await it.give(windowed("a", generation=2, nights=NIGHTS))
        await until_condition(it, "File/b", "Waiting", "Window")
        await it.passes(14 * HOUR)
        await it.reaches("Converged", 2)
    assert set(it.provider.world) == {"File/a"}


async def test_a_step_begun_is_finished_and_a_window_that_closes_stops_the_next(it: TestSite) -> None:
    async with Running(*it.loops()):
        it.clock.set_wall(NOON + 14 * HOUR)
        it.provider.gate = anyio.Event()
        await it.give(windowed("a", "b", nights=NIGHTS))
        await eventually(lambda: it.provider.changes() == [("apply", "File/a")])
        await eventually(lambda: it.clock.sleepers >= 2)
        it.clock.advance(2 * HOUR)
        gate, it.provider.gate = it.provider.gate, None
        gate.set()
        await until_condition(it, "File/a", "Ready", "AsWanted")
        await until_condition(it, "File/b", "Waiting", "Window")
    assert it.provider.changes() == [("apply", "File/a")]


async def test_a_hold_made_while_a_step_runs_keeps_the_next_from_beginning(it: TestSite) -> None:
    async with Running(*it.loops()):
        it.provider.gate = anyio.Event()
        await it.give(windowed("a", "b"))
        await eventually(lambda: it.provider.changes() == [("apply", "File/a")])
        await it.give(windowed("a", "b", generation=2, holds=(held(),)))
        await until_condition(it, "File/b", "Held", "Hold")
        gate, it.provider.gate = it.provider.gate, None
        gate.set()
        await until_condition(it, "File/a", "Ready", "AsWanted")
        await it.never(lambda: ("apply", "File/b") in it.provider.changes())
    assert it.provider.changes() == [("apply", "File/a")], "finished, and not interrupted by the target with the hold"


async def test_a_window_matches_only_what_it_names(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", "b", nights={**NIGHTS, "match": {"names": ["a"]}}))
        await until_condition(it, "File/b", "Ready", "AsWanted")
        assert it.condition("File/a") == ("Waiting", "Window")


async def test_with_a_clock_that_is_wrong_drift_is_repaired_and_nothing_new_begins(tmp_path: Path) -> None:
    quality = ["unknown"]
    it = TestSite(tmp_path, clock=FakeClock(wall=NOON + 14 * HOUR), quality=lambda: quality[0])
    both = {**NIGHTS, "gates": ["targets", "drift"]}
    try:
        async with Running(*it.loops()):
            await it.give(windowed("a", nights=both))
            await it.reaches("Converged")
            quality[0] = "floor"
            it.clock.set_wall(0.0)
            del it.provider.world["File/a"]
            await it.give(windowed("a", "b", generation=2, nights=both))
            await until_condition(it, "File/b", "Waiting", "Clock")
            await eventually(lambda: "File/a" in it.provider.world)
            await it.never(lambda: "File/b" in it.provider.world)
            quality[0] = "synced"
            it.clock.set_wall(NOON + 15 * HOUR)
            it.site.wakes.wake()
            await it.reaches("Converged", 2)
    finally:
        it.close()


async def test_openings_missed_while_the_machine_was_off_are_counted_and_force_the_change(tmp_path: Path) -> None:
    forced = windowed("a", nights={**NIGHTS, "missed": {"after": 3, "then": "force"}})
    first = TestSite(tmp_path, clock=FakeClock(wall=NOON))
    async with Running(*first.loops()):
        await first.give(forced)
        await until_condition(first, "File/a", "Waiting", "Window")
    first.close()
    later = TestSite(tmp_path, clock=FakeClock(wall=NOON + 3 * 24 * HOUR, boottime=5.0), boot="next")
    try:
        async with Running(*later.loops()):
            await later.reaches("Converged")
            await eventually(lambda: alarms(later) == ["WindowsMissed"])
            await eventually(lambda: later.site.gatekeeper.problems() == ())
    finally:
        later.close()


async def test_openings_in_which_the_change_failed_are_missed_too_and_alarm_once(it: TestSite) -> None:
    told = {**NIGHTS, "missed": {"after": 2, "then": "alert"}}
    it.provider.fails["File/a"] = [TransientError("no", after=3 * HOUR) for _ in range(4)]
    async with Running(*it.loops()):
        await it.give(windowed("a", nights=told))
        await until_condition(it, "File/a", "Waiting", "Window")
        for _ in range(3):
            await it.passes(14 * HOUR)
            tries = len(it.provider.changes())
            await eventually(lambda: it.site.board.status is not None)
            await it.passes(10 * HOUR)
            assert len(it.provider.changes()) <= tries + 1
        await eventually(lambda: alarms(it) == ["WindowsMissed"])
        status = it.site.board.status
        assert status is not None
        assert any("passed 2 times" in problem for problem in status.problems)


async def test_a_clock_set_forward_by_a_year_forces_nothing(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", nights={**NIGHTS, "missed": {"after": 3, "then": "force"}}))
        await until_condition(it, "File/a", "Waiting", "Window")
        it.clock.set_wall(NOON + 365 * 24 * HOUR)
        it.provider.tell()
        await it.site.fresh_view()
        await it.never(lambda: it.provider.changes())
    assert not alarms(it)


@pytest.mark.invariant("every-hold-expires")
async def test_a_hold_of_the_hub_stands_for_its_time_and_ends_without_the_hub(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a"))
        await it.reaches("Converged")
        await it.give(windowed("a", content="y", generation=2, holds=(held(seconds=7200),)))
        await until_condition(it, "File/a", "Held", "Hold")
        (standing,) = it.site.holds.active(it.site.moment())
        assert (standing.id, standing.by, standing.reason) == ("h1", "ann", "commissioning")
        await it.passes(7200)
        await it.reaches("Converged", 2)
        await eventually(lambda: audits(it) == ["HoldMade", "HoldExpired"])
        await it.site.fresh_view()
    assert audits(it) == ["HoldMade", "HoldExpired"], "the target still names it, and it does not begin again"


@pytest.mark.invariant("every-hold-expires")
async def test_a_clock_that_jumps_back_lengthens_no_hold_of_the_hub(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", holds=(held(seconds=3600, until=NOON + 3600),)))
        await it.reaches("Held")
        it.clock.set_wall(NOON - 10 * 24 * HOUR)
        await it.passes(3600)
        await it.reaches("Converged")


async def test_a_hold_that_was_over_before_it_came_does_not_begin(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", holds=(held(until=NOON - 1),)))
        await it.reaches("Converged")
        assert it.site.holds.active(it.site.moment()) == ()


async def test_what_is_left_of_a_hold_is_what_stands_when_it_comes_late(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", holds=(held(seconds=7200, until=NOON + 600),)))
        await it.reaches("Held")
        await it.passes(600)
        await it.reaches("Converged")


async def test_with_a_clock_that_is_wrong_a_hold_counts_from_its_receipt(tmp_path: Path) -> None:
    it = TestSite(tmp_path, clock=FakeClock(wall=0.0), quality=lambda: "floor")
    try:
        async with Running(*it.loops()):
            await it.give(windowed("a", holds=(held(seconds=1800),)))
            await it.reaches("Held")
            await it.passes(1800)
            await it.reaches("Converged")
    finally:
        it.close()


async def test_a_hold_survives_a_restart_and_one_that_ended_stays_ended(tmp_path: Path) -> None:
    first = TestSite(tmp_path, clock=FakeClock(wall=NOON))
    async with Running(*first.loops()):
        await first.give(windowed("a", holds=(held("ended", 60, NOON + 60), held("stands"))))
        await first.reaches("Held")
        await first.passes(60)
        await eventually(lambda: "HoldExpired" in audits(first))
    first.close()
    second = TestSite(tmp_path, clock=FakeClock(wall=NOON + 30, boottime=9.0), boot="next")
    try:
        async with Running(*second.loops()):  # with a clock set back to before it ended
            await second.reaches("Held")
            assert [each.id for each in second.site.holds.active(second.site.moment())] == ["stands"]
    finally:
        second.close()


async def test_a_hold_released_at_the_hub_or_on_the_spot_is_over(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", holds=(held("one"), held("two"))))
        await it.reaches("Held")
        await it.give(windowed("a", generation=2, holds=(held("two"),)))
        await eventually(lambda: [each.id for each in it.site.holds.active(it.site.moment())] == ["two"])
        await it.site.holds.release("two", by="uid 0", now=it.site.moment())
        it.site.wakes.wake()
        await it.reaches("Converged", 2)
        await eventually(lambda: audits(it).count("HoldReleased") == 2)


async def test_the_loop_does_not_fight_a_technician_who_holds_one_thing(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", "b"))
        await it.reaches("Converged")
        await it.site.holds.make(
            reason="replacing the drive", seconds=2 * HOUR, resources=["File/a"], by="uid 0", now=it.site.moment()
        )
        by_hand = {"by": "hand"}
        it.provider.world["File/a"] = by_hand
        del it.provider.world["File/b"]
        it.provider.tell()
        await until_condition(it, "File/a", "Held", "Hold")
        await eventually(lambda: "File/b" in it.provider.world)
        for _ in range(5):
            await it.passes(20 * 60)
        assert it.provider.world["File/a"] is by_hand
        await it.passes(20 * 60)
        await it.reaches("Converged")
        assert it.provider.world["File/a"] != by_hand
        await eventually(lambda: audits(it) == ["HoldMade", "HoldExpired"])


async def test_what_waits_for_its_window_says_so_while_the_target_before_is_kept_up(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(windowed("a", "b"))
        await it.reaches("Converged")
        await it.passes(60)
        await eventually(lambda: it.site.targets.last_good != "")
        old = it.provider.world["File/a"]
        await it.give(windowed("a", content="new", generation=2, nights=NIGHTS))
        await until_condition(it, "File/a", "Waiting", "Window")
        rows = {row["key"]: row for row in planned(await it.site.fresh_view(), it.site)}
        whys = [rows[key]["why"] for key in ("File/a", "File/b")]
        assert all("next chance 2026-06-02T02:00:00Z" in why for why in whys)
        del it.provider.world["File/a"]
        it.provider.tell()
        await eventually(lambda: it.provider.world.get("File/a") == old)
        await it.passes(14 * HOUR)
        await it.reaches("Converged", 2)
    assert set(it.provider.world) == {"File/a"}
