"""Windows over a year of hours, gates, missed openings: pure, told the time."""
# ruff: noqa: DTZ001 (local times have no zone here)

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from holdfast_edge.core import gates, missed, windows
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.missed import Misses
from holdfast_edge.core.steps import Create, Gated, Remove, Step, Update
from holdfast_edge.core.windows import Placed, standing, verdict
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource
from holdfast_protocol.wire.windows import check
from support.builders import file_body

HOUR = 3600
KEY = ResourceKey("File/motd")


def placed(name: str = "w", zone: str = "Europe/Berlin", **spec: Any) -> Placed:
    made = {"schedule": {"cron": "0 4 * * *", "duration": "1h"}, "gates": ["targets"], **spec}
    return Placed(check(name, made), zone, ZoneInfo(zone))


def at(text: str, zone: str = "Europe/Berlin") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def a_resource(name: str = "motd", **fields: Any) -> Resource:
    return resource(file_body(name, f"/srv/{name}"), **fields)


def days_of(year: int) -> list[datetime]:
    return [
        datetime(year, 1, 1) + timedelta(days=number)
        for number in range((datetime(year + 1, 1, 1) - datetime(year, 1, 1)).days)
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0 4 * * 1-5", lambda day: [4] if day.isoweekday() <= 5 else []),
        ("0 2,22 * * *", lambda day: [2, 22]),
        ("0 4 1 * *", lambda day: [4] if day.day == 1 else []),
        ("0 3 L * *".replace("L", "28-31"), lambda day: [3] if day.day >= 28 else []),
        ("0 12 29 2 *", lambda day: [12] if (day.month, day.day) == (2, 29) else []),
    ],
)
def test_over_a_year_of_hours_every_window_is_used(zone: str, text: str, wanted: Any) -> None:
    it = placed(zone=zone, schedule={"cron": text, "duration": "1h"})
    expected = [(day.date(), hour) for day in days_of(2028) for hour in wanted(day)]
    used: dict[int, None] = {}
    now, end = at("2028-01-01", zone), at("2029-01-01", zone)
    found = standing(it, missed.NONE, now)
    while now < end:
        if found.until is not None and now >= found.until:
            found = standing(it, missed.NONE, now)
        if found.open:
            assert found.until is not None
            used[found.until - HOUR] = None
        now += HOUR if zone != "Australia/Lord_Howe" and zone != "Asia/Kolkata" else HOUR // 2
    local = [datetime.fromtimestamp(each, ZoneInfo(zone)) for each in used]
    shown = [(each.date(), each.hour - (each.hour == 3 and (each.date(), 3) not in expected)) for each in local]
    assert shown == expected, "each once, the skipped one in the first instant after"


def test_the_weekday_window_is_used_whenever_it_was_looked_at_first() -> None:
    """The defect of a peer: a window judged by the gap between two guessed runs misses most of these."""
    it = placed(schedule={"cron": "0 4 * * 1-5", "duration": "1h"})
    for first in range(0, 7 * 24, 17):
        now = at("2026-06-01T00:30") + first * HOUR
        opened = {
            datetime.fromtimestamp(at_, ZoneInfo("Europe/Berlin")).date()
            for hour in range(28 * 24)
            if standing(it, missed.NONE, at_ := now + hour * HOUR).open
        }
        assert len(opened) == 20


def test_a_window_says_when_it_closes_and_when_it_opens_next() -> None:
    it = placed()
    assert standing(it, missed.NONE, at("2026-06-01T03:59")).until == at("2026-06-01T04:00")
    opened = standing(it, missed.NONE, at("2026-06-01T04:00"))
    assert (opened.open, opened.until) == (True, at("2026-06-01T05:00"))
    assert standing(it, missed.NONE, at("2026-06-01T05:00")).until == at("2026-06-02T04:00")


def test_a_gate_that_no_window_names_is_always_open() -> None:
    shut = [standing(placed(), missed.NONE, at("2026-06-01T12:00"))]
    assert verdict(shut, "drift", KEY, "").open
    assert not verdict(shut, "targets", KEY, "").open
    assert verdict([], "targets", KEY, "").open


def test_several_windows_open_together_and_the_last_one_closes() -> None:
    now = at("2026-06-01T04:30")
    both = [
        standing(each, missed.NONE, now)
        for each in (placed("a"), placed("b", schedule={"cron": "0 4 * * *", "duration": "3h"}))
    ]
    assert verdict(both, "targets", KEY, "").until == at("2026-06-01T07:00")
    later = [
        standing(each, missed.NONE, at("2026-06-01T12:00"))
        for each in (placed("a"), placed("b", schedule={"cron": "0 20 * * *", "duration": "1h"}))
    ]
    shut = verdict(later, "targets", KEY, "")
    assert (shut.open, shut.until) == (False, at("2026-06-01T20:00"))
    assert "window b opens 2026-06-01 20:00 Europe/Berlin" in shut.message


def test_a_window_for_some_resources_leaves_the_others_alone() -> None:
    only = [standing(placed(match={"kinds": ["Deployment"]}), missed.NONE, at("2026-06-01T12:00"))]
    assert verdict(only, "targets", KEY, "").open
    assert not verdict(only, "targets", ResourceKey("Deployment/web"), "").open


def test_with_a_clock_that_is_wrong_nothing_new_begins_and_drift_is_repaired() -> None:
    every = placed(gates=["targets", "drift", "downloads", "reboots"])
    found = [standing(every, missed.NONE, at("2026-06-01T04:30"))]
    assert found[0].open
    judged = {gate: verdict(found, gate, KEY, "", trusted=False).open for gate in windows.GATES}
    assert judged == {"targets": False, "drift": True, "downloads": False, "reboots": False}


def test_a_zone_the_machine_does_not_know_never_opens() -> None:
    unknown = Placed(placed().window, "Mars/Olympus", None)
    found = [standing(unknown, missed.NONE, at("2026-06-01T04:30"))]
    assert not verdict(found, "targets", KEY, "").open


def test_gates_tell_new_targets_from_drift() -> None:
    wanted = a_resource()
    applied = {wanted.key: Owned(wanted.body, wanted.digest)}
    assert gates.gate_of(Create(wanted), {}) == "targets"
    assert gates.gate_of(Update(wanted, ("content",)), {wanted.key: Owned({}, "other")}) == "targets"
    assert gates.gate_of(Update(wanted, ("content",)), applied) == "drift"
    assert gates.gate_of(Create(wanted), applied) == "drift", "somebody took it away"
    assert gates.gate_of(Remove(wanted.key, {}), applied) == "targets"


def test_what_a_window_keeps_back_is_gated_and_the_rest_has_an_end() -> None:
    mine, other = a_resource("motd", instance="Shop/a"), a_resource("hosts")
    plan: tuple[Step, ...] = (Create(mine), Create(other), Remove(ResourceKey("File/old"), {}))
    night = placed(match={"instances": ["Shop/a"]})
    shut, _ = gates.gated(plan, [standing(night, missed.NONE, at("2026-06-01T12:00"))], {}, trusted=True)
    assert [type(step) for step in shut] == [Gated, Create, Remove]
    opened, ends = gates.gated(plan, [standing(night, missed.NONE, at("2026-06-01T04:30"))], {}, trusted=True)
    assert opened == plan
    assert ends == {mine.key: at("2026-06-01T05:00")}
    back, _ = gates.gated(plan, [standing(night, missed.NONE, at("2026-06-01T12:00"))], {}, trusted=True, back=True)
    assert back == plan, "going back waits for no window"


def test_an_opening_that_passed_while_something_was_due_is_missed_once() -> None:
    it = placed(missed={"after": 3}).window
    zone = ZoneInfo("Europe/Berlin")
    held = missed.counted(missed.NONE, it, zone, due=True, now=at("2026-06-01T12:00"))
    assert held.count == 0
    for _ in range(2):
        held = missed.counted(held, it, zone, due=True, now=at("2026-06-02T12:00"))
    assert held.count == 1
    held = missed.counted(held, it, zone, due=True, now=at("2026-06-05T12:00"))
    assert held.count == 3, "also those the machine was off in"
    assert missed.is_over(it.missed, held)
    assert missed.counted(held, it, zone, due=False, now=at("2026-06-05T13:00")) == missed.NONE


def test_an_opening_that_had_begun_when_the_change_came_is_not_missed() -> None:
    it, zone = placed(missed={"after": 3}).window, ZoneInfo("Europe/Berlin")
    held = missed.counted(missed.NONE, it, zone, due=True, now=at("2026-06-01T04:59"))
    assert missed.counted(held, it, zone, due=True, now=at("2026-06-01T06:00")).count == 0
    assert missed.counted(held, it, zone, due=True, now=at("2026-06-02T06:00")).count == 1


def test_a_clock_that_jumps_makes_no_missed_openings() -> None:
    it, zone = placed(missed={"after": 3}).window, ZoneInfo("Europe/Berlin")
    held = missed.counted(missed.NONE, it, zone, due=True, now=at("2026-06-01T12:00"))
    held = missed.jumped(held, at("2036-06-01T12:00"))
    assert missed.counted(held, it, zone, due=True, now=at("2036-06-01T13:00")).count == 0
    back = missed.counted(held, it, zone, due=True, now=at("2026-06-01T13:00"))
    assert (back.count, back.counted_to) == (0, at("2026-06-01T13:00"))


def test_after_enough_missed_openings_the_window_is_wider_or_counts_as_open() -> None:
    over = Misses(due_since=1, counted_to=1, count=3)
    wide = placed(missed={"after": 3, "then": "widen", "by": "2h"})
    assert not standing(wide, Misses(count=2), at("2026-06-01T06:30")).open
    assert standing(wide, over, at("2026-06-01T06:30")).open
    forced = standing(placed(missed={"after": 3, "then": "force"}), over, at("2026-06-01T12:00"))
    assert (forced.open, forced.forced, forced.until) == (True, True, None)
    told = standing(placed(missed={"after": 3, "then": "alert"}), over, at("2026-06-01T12:00"))
    assert not told.open


def test_gate_statuses_say_until_when() -> None:
    shut = windows.gate_statuses([standing(placed(), missed.NONE, at("2026-06-01T12:00"))], trusted=True)
    (only,) = shut
    assert (only.gate, only.open, only.windows, only.until) == ("targets", False, ("w",), at("2026-06-02T04:00") * 1000)
    assert only.message == "opens 2026-06-02 04:00 Europe/Berlin"
