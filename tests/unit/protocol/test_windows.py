"""A MaintenanceWindow's spec: what may be written, and what it comes to."""

from datetime import datetime
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from holdfast_protocol.calendar import durations
from holdfast_protocol.calendar.openings import Opening, local_time, openings
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import windows
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.windows import Match, Window, check

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = {"schedule": {"cron": "0 2 * * *", "duration": "2h"}, "gates": ["targets"]}


def spec(**changed: Any) -> dict[str, Any]:
    return {**NIGHTLY, **changed}


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def local(window: Window, since: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    found = islice(openings(window.calendar, zone, at(since, zone)), count)
    return [f"{local_time(each.start, zone):%m-%d %H:%M}-{local_time(each.end, zone):%m-%d %H:%M}" for each in found]


def test_a_window_inside_the_skipped_hour_opens_at_the_first_instant_after_it_and_lasts_its_whole_time() -> None:
    window = check("w", spec(schedule={"cron": "30 2 * * *", "duration": "1h"}))
    assert local(window, "2027-03-27T12:00", 2) == ["03-28 03:00-03-28 04:00", "03-29 02:30-03-29 03:30"]


def test_a_window_in_the_repeated_hour_opens_once_and_lasts_its_whole_time() -> None:
    window = check("w", spec(schedule={"cron": "30 2 * * *", "duration": "1h"}))
    (first,) = islice(openings(window.calendar, BERLIN, at("2027-10-31T00:00")), 1)
    assert first.end - first.start == 3600
    assert local(window, "2027-10-31T00:00", 2) == ["10-31 02:30-10-31 02:30", "11-01 02:30-11-01 03:30"]


def test_a_window_over_the_night_of_the_change_has_its_real_duration() -> None:
    window = check("w", spec(schedule={"cron": "0 22 * * *", "duration": "8h"}))
    assert local(window, "2027-03-27T12:00", 1) == ["03-27 22:00-03-28 07:00"]
    assert local(window, "2027-10-30T12:00", 1) == ["10-30 22:00-10-31 05:00"]


def test_half_an_hour_is_skipped_too() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    window = check("w", spec(schedule={"cron": "10 2 * * *", "duration": "1h"}))
    assert local(window, "2027-10-02T12:00", 1, zone) == ["10-03 02:30-10-03 03:30"]


def test_month_ends_and_leap_days() -> None:
    last = {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1", "start": "2028-01-01T02:00", "duration": "1h"}
    assert [each[:5] for each in local(check("w", spec(schedule=last)), "2028-01-01T00:00", 4)] == [
        "01-31",
        "02-29",
        "03-31",
        "04-30",
    ]
    leap = check("w", spec(schedule={"cron": "0 2 29 2 *", "duration": "1h"}))
    found = islice(openings(leap.calendar, BERLIN, at("2027-01-01T00:00")), 2)
    assert [local_time(each.start, BERLIN).year for each in found] == [2028, 2032]


def test_a_day_of_either_field_is_enough_when_both_are_restricted() -> None:
    either = check("w", spec(schedule={"cron": "0 2 1 * 1", "duration": "1h"}))
    assert [each[:5] for each in local(either, "2027-08-25T00:00", 3)] == ["08-30", "09-01", "09-06"]


def test_a_freeze_shuts_and_an_extra_opening_inside_it_opens() -> None:
    exceptions = {
        "closed": ["2026-12-24", {"from": "2026-12-26", "to": "2026-12-28"}],
        "open": [{"from": "2026-12-27T10:00", "to": "2026-12-27T12:00"}],
    }
    window = check("w", spec(exceptions=exceptions))
    assert local(window, "2026-12-23T12:00", 3) == [
        "12-25 02:00-12-25 04:00",
        "12-27 10:00-12-27 12:00",
        "12-29 02:00-12-29 04:00",
    ]


def test_a_freeze_cuts_an_opening_that_reaches_into_it() -> None:
    window = check("w", spec(schedule={"cron": "0 22 * * *", "duration": "4h"}, exceptions={"closed": ["2026-12-24"]}))
    assert local(window, "2026-12-23T12:00", 2) == ["12-23 22:00-12-24 00:00", "12-25 00:00-12-25 02:00"]


def test_openings_that_touch_are_one() -> None:
    window = check("w", spec(schedule={"cron": "0 2,3 * * *", "duration": "90m"}))
    assert local(window, "2027-06-01T00:00", 1) == ["06-01 02:00-06-01 04:30"]


def test_what_is_open_all_day_is_told_in_pieces_without_a_hole() -> None:
    window = check("w", spec(schedule={"cron": "0 0 * * *", "duration": "1d"}))
    found = list(islice(openings(window.calendar, BERLIN, at("2027-06-01T12:00")), 5))
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(isinstance(each, Opening) and each.end - each.start >= 86400 for each in found)


def test_a_rule_that_ended_opens_no_more() -> None:
    ended = {"rrule": "FREQ=DAILY;COUNT=3", "start": "2026-01-01T02:00", "duration": "1h"}
    assert not list(openings(check("w", spec(schedule=ended)).calendar, BERLIN, at("2026-02-01T00:00")))


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"gates": []}, "spec.gates"),
        ({"gates": ["everything"]}, "gates"),
        ({"more": 1}, "unknown field `more`"),
        ({"timeZone": "../etc/passwd"}, "spec.timeZone"),
        ({"schedule": {"duration": "1h"}}, "spec.schedule"),
        ({"schedule": {"cron": "0 2 * * *"}}, "duration"),
        ({"schedule": {"cron": "0 2 * *", "duration": "1h"}}, "spec.schedule.cron"),
        ({"schedule": {"cron": "0 24 * * *", "duration": "1h"}}, "spec.schedule.cron"),
        ({"schedule": {"cron": "0 2 * * FRY", "duration": "1h"}}, "spec.schedule.cron"),
        ({"schedule": {"cron": "0 5-2 * * *", "duration": "1h"}}, "spec.schedule.cron"),
        ({"schedule": {"cron": "*/0 2 * * *", "duration": "1h"}}, "spec.schedule.cron"),
        ({"schedule": {"cron": "0 2 31 2 *", "duration": "1h"}}, "never comes"),
        ({"schedule": {"cron": "* * * * *", "duration": "1m"}}, "more often than"),
        ({"schedule": {"cron": "*/30 * * * *", "duration": "30d"}}, "more often than"),
        ({"schedule": {"cron": "0 2 * * *", "duration": "32d"}}, "spec.schedule.duration"),
        ({"schedule": {"cron": "0 2 * * *", "duration": "soon"}}, "spec.schedule.duration"),
        ({"schedule": {"cron": "0 2 * * *", "duration": "0h"}}, "spec.schedule.duration"),
        ({"schedule": {"cron": "0 2 * * *", "duration": "1h", "start": "2026-01-01"}}, "spec.schedule.start"),
        ({"schedule": {"rrule": "FREQ=DAILY", "duration": "1h"}}, "spec.schedule.start"),
        ({"schedule": {"rrule": "FREQ=HOURLY", "start": "2026-01-01", "duration": "1h"}}, "spec.schedule.rrule"),
        ({"schedule": {"rrule": "FREQ=DAILY;BYHOUR=2", "start": "2026-01-01", "duration": "1h"}}, "BYHOUR"),
        ({"schedule": {"rrule": "FREQ=DAILY;COUNT=9999", "start": "2026-01-01", "duration": "1h"}}, "COUNT"),
        ({"schedule": {"rrule": "FREQ=WEEKLY;BYDAY=2MO", "start": "2026-01-01", "duration": "1h"}}, "2MO"),
        (
            {"schedule": {"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "start": "2026-01-01", "duration": "1h"}},
            "never",
        ),
        (
            {"schedule": {"rrule": "FREQ=DAILY;UNTIL=20270101T000000Z", "start": "2026-01-01", "duration": "1h"}},
            "UNTIL",
        ),
        ({"schedule": {"rrule": "FREQ=DAILY;FREQ=DAILY", "start": "2026-01-01", "duration": "1h"}}, "no rule"),
        ({"exceptions": {"closed": ["2026-13-01"]}}, "spec.exceptions.closed[0]"),
        ({"exceptions": {"open": [{"from": "2026-02-02", "to": "2026-02-01"}]}}, "spec.exceptions.open[0]"),
        ({"exceptions": {"closed": ["2026-01-01"] * 201}}, "more than 200"),
        ({"missed": {"after": 0}}, "spec.missed.after"),
        ({"missed": {"after": 3, "then": "widen"}}, "spec.missed.by"),
        ({"missed": {"after": 3, "then": "force", "by": "1h"}}, "spec.missed.by"),
        ({"missed": {"after": 3, "then": "shout"}}, "missed"),
    ],
)
def test_what_nobody_could_mean_is_refused_at_its_place(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(WireError, match=path.replace("[", r"\[")) as refused:
        check("w", spec(**wrong))
    assert refused.value.reason == "InvalidSpec"
    (flaw,) = windows.flaws(spec(**wrong))
    assert flaw.message


def test_a_flaw_stands_at_its_place_in_the_document() -> None:
    (flaw,) = windows.flaws(spec(exceptions={"closed": ["2026-01-01", "x"]}))
    assert flaw.path == ("exceptions", "closed", 1)
    (flaw,) = windows.flaws(spec(schedule={"cron": "x", "duration": 3}))
    assert flaw.path == ("schedule", "duration")


def test_a_target_carries_a_window_by_name_and_refuses_half_of_one() -> None:
    window = windows.carried(windows.carry("night", NIGHTLY))
    assert (window.name, window.gates) == ("night", ("targets",))
    for broken in ({"name": "night"}, {"name": "", "spec": NIGHTLY}, {"name": "n", "spec": NIGHTLY, "more": 1}):
        with pytest.raises(WireError, match="name and its spec"):
            windows.carried(broken)


def test_a_match_covers_by_kind_name_and_instance() -> None:
    key = ResourceKey("Deployment/shop/web")
    assert Match().covers(key, "")
    assert Match(kinds=("Deployment",), names=("web",)).covers(key, "")
    assert not Match(kinds=("File",)).covers(key, "")
    assert not Match(instances=("Shop/a",)).covers(key, "Shop/b")


def test_widening_lengthens_the_opening() -> None:
    window = check("w", spec(missed={"after": 2, "then": "widen", "by": "90m"}))
    assert (window.calendar.seconds, window.widened.seconds) == (7200, 12600)
    assert check("w", spec()).widened is not None


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("1d2h3m4s", 93784)])
def test_durations_are_read_and_written(text: str, seconds: int) -> None:
    assert durations.seconds(text, "spec") == seconds
    assert durations.seconds(durations.written(seconds), "spec") <= seconds


def test_a_spec_survives_json() -> None:
    assert windows.carried(msgspec.json.decode(msgspec.json.encode(windows.carry("a", NIGHTLY)))).name == "a"
