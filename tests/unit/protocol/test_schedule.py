"""Cron expressions, by the wall of a time zone."""

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from holdfast_protocol.kinds.pods.schedule import schedule


def due(text: str, zone: str, start: str, number: int) -> list[str]:
    """The first due times after `start`, both by the wall of the zone."""
    place = ZoneInfo(zone)
    moment = datetime.fromisoformat(start).replace(tzinfo=place).timestamp()
    found = islice(schedule(text, zone).following(moment), number)
    return [datetime.fromtimestamp(each, place).strftime("%m-%d %H:%M") for each in found]


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("0 4 * * 1-5", "2026-11-20T05:00", ["11-23 04:00", "11-24 04:00"]),
        ("0 2,22 * * *", "2026-11-20T05:00", ["11-20 22:00", "11-21 02:00"]),
        ("0 4 1 * *", "2026-11-20T05:00", ["12-01 04:00", "01-01 04:00"]),
        ("*/20 8-9 * * *", "2026-11-20T08:40", ["11-20 09:00", "11-20 09:20"]),
        ("30 6 13 * fri", "2026-11-01T00:00", ["11-06 06:30", "11-13 06:30"]),
        ("0 0 * * 7", "2026-11-20T00:00", ["11-22 00:00", "11-29 00:00"]),
        ("0 12 31 * *", "2026-11-20T00:00", ["12-31 12:00", "01-31 12:00"]),
        ("5/15 1 * jan *", "2026-11-20T00:00", ["01-01 01:05", "01-01 01:20"]),
        ("@hourly", "2026-11-20T05:59:59", ["11-20 06:00", "11-20 07:00"]),
        ("0 0 29 2 *", "2026-11-20T00:00", ["02-29 00:00", "02-29 00:00"]),
    ],
)
def test_an_expression_is_due_as_kubernetes_reads_it(text: str, start: str, expected: list[str]) -> None:
    assert due(text, "UTC", start, 2) == expected


def test_a_time_the_clocks_skip_is_not_due_that_day() -> None:
    assert due("30 2 * * *", "Europe/Paris", "2026-03-28T03:00", 2) == ["03-30 02:30", "03-31 02:30"]


def test_a_time_that_comes_twice_is_due_once_and_every_hour_is_due_each_time() -> None:
    assert due("30 2 * * *", "Europe/Paris", "2026-10-24T03:00", 2) == ["10-25 02:30", "10-26 02:30"]
    hours = due("0 * * * *", "Europe/Paris", "2026-10-25T00:30", 4)
    assert hours == ["10-25 01:00", "10-25 02:00", "10-25 02:00", "10-25 03:00"]


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="never comes"):
        schedule("0 0 30 2 *")


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "* * * * * *", "0 0 * foo *"],
)
def test_what_is_no_expression_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no"):
        schedule(text)


def test_an_unknown_zone_is_said() -> None:
    with pytest.raises(ValueError, match="time zone"):
        schedule("@daily", "../etc/passwd")
