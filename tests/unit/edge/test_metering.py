"""Metered links: a day's budget and a schedule hold back history, and say until when."""

from datetime import UTC

import pytest

from holdfast_edge.core.metering import Metered, allowance, calendar, problem
from holdfast_edge.store.outbox_state import DAY_MS, Odometer

MIDNIGHT = 1_700_006_400.0  # 2023-11-15T00:00:00Z


def judge(metered: Metered, *, now: float = MIDNIGHT, spent: int = 0) -> tuple[bool, int | None, float]:
    found = allowance(metered, calendar(metered), UTC, now=now, spent=spent, day_left=5000.0)
    return found.allowed, found.left, found.again


def test_without_settings_history_goes_at_any_time() -> None:
    assert judge(Metered()) == (True, None, 0.0)


def test_a_spent_budget_waits_for_the_next_day_of_running() -> None:
    assert judge(Metered(1000), spent=999) == (True, 1, 0.0)
    assert judge(Metered(1000), spent=1001) == (False, 0, 5000.0)


def test_a_schedule_opens_and_shuts() -> None:
    nightly = Metered(schedule="0 2 * * *", duration="90m")
    assert judge(nightly) == (False, None, 7200.0)
    assert judge(nightly, now=MIDNIGHT + 7200) == (True, None, 0.0)
    assert judge(nightly, now=MIDNIGHT + 7200 + 5399)[0]
    assert not judge(nightly, now=MIDNIGHT + 7200 + 5400)[0]


@pytest.mark.parametrize(
    ("metered", "known", "wrong"),
    [
        (Metered(), True, ""),
        (Metered(-1), True, "bytes_per_day"),
        (Metered(schedule="61 * * * *"), True, "schedule"),
        (Metered(schedule="0 2 * * *", duration="soon"), True, "duration"),
        (Metered(time_zone="Mars/Base"), False, "time_zone"),
    ],
)
def test_wrong_settings_are_named(metered: Metered, known: bool, wrong: str) -> None:
    found = problem(metered, zone_known=known)
    assert found == "" if not wrong else wrong in found


def test_a_day_is_of_running_and_begins_with_nothing_spent() -> None:
    held = Odometer().at("a", 1000)
    assert (held.total, held.day) == (1000, 0)
    later = Odometer(held.total, "a", 1000, 0, spent=77).at("a", 5000)
    assert (later.total, later.spent) == (5000, 77)
    rebooted = later.at("b", 300)
    assert (rebooted.total, rebooted.spent) == (5300, 77)
    assert rebooted.at("b", 200).total == 5300  # a clock that goes back adds nothing
    assert rebooted.at("b", DAY_MS).spent == 0
