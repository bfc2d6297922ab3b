"""How much is under way follows the link; a day on a link in milliseconds."""

from holdfast_edge.core.forecast import Rates, lasts
from holdfast_edge.link import pace
from holdfast_edge.link.pace import Pace


def drive(rate: float, delay: float, seconds: float) -> tuple[Pace, float, float]:
    """Send without end over a link; return the pace, the share of the link that was used, and the longest wait."""
    held, now, free, arrived, worst = Pace(), 0.0, 0.0, 0, 0.0
    flying: list[tuple[float, float, int, int]] = []
    while now < seconds:
        while sum(each[2] for each in flying) < held.limit:
            free = max(free, now) + held.batch / rate
            flying.append((free + delay, now, held.batch, arrived))
        due, sent, size, before = flying.pop(0)
        now, arrived = due, arrived + size
        held.heard(now - sent, arrived - before)
        worst = max(worst, now - sent) if now > seconds / 2 else 0.0
    return held, arrived / (rate * seconds), worst


def test_a_fast_long_link_is_filled() -> None:
    held, used, _ = drive(2_000_000, 0.2, 20)
    assert used > 0.8
    assert held.batch == pace.LARGEST_BATCH


def test_on_a_narrow_link_nothing_waits_long_behind_history() -> None:
    held, used, worst = drive(125_000, 0.02, 60)
    assert used > 0.95
    assert worst < 1.5
    assert pace.LEAST_BATCH <= held.batch < pace.LARGEST_BATCH


def test_a_link_that_became_slower_is_noticed() -> None:
    held = Pace()
    for _ in range(20):
        held.heard(0.1, 100_000)
    fast = held.limit
    for _ in range(40):
        held.heard(1.0, 10_000)
    assert held.rate < 20_000
    assert held.limit < fast


def test_the_forecast_is_of_the_last_hour() -> None:
    rates = Rates()
    for minute in range(300):
        rates.note(60.0 * minute, {"p3": 600 * minute if minute < 200 else 600 * 200})
    assert rates.rate("p3", 300 * 60.0, 600 * 200) == 0
    assert lasts(1000, 0.0) is None
    assert lasts(1000, None) is None
    assert lasts(1000, 10.0) == 100.0
    young = Rates()
    young.note(0.0, {"p3": 0})
    assert young.rate("p3", 10.0, 100) is None
    assert young.rate("p3", 100.0, 1000) == 10.0
