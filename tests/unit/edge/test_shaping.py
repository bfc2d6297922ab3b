"""Shaping: days of readings in milliseconds, nothing lost that a window holds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_edge.core.admission import MAX_DEVICES, Admission
from holdfast_edge.core.shaping import MAX_WINDOWS, Shaper
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.device_source import Bounds
from holdfast_protocol.mapping.rules import Shape, Window
from holdfast_protocol.mapping.shape import Shaping, shaping
from holdfast_protocol.wire.readings import Reading

DAY = 86_400_000


def at(time: int, value: float | bool | str, quality: str = "good") -> Reading:
    return Reading("p1", "t", time, value, "Cel", quality)


def made(shape: Shape) -> Shaping:
    found = shaping(shape, "shape")
    assert found is not None
    return found


def sent(shaper: Shaper, how: Shaping, readings: list[Reading]) -> list[Reading]:
    return [each for reading in readings for each in shaper.shaped(0, how, [reading], reading.time)]


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=60), st.floats(0.1, 50))
def test_what_a_deadband_holds_back_is_never_further_than_the_band_from_what_was_sent(
    values: list[float], band: float
) -> None:
    shaper, how = Shaper(), made(Shape(deadband=f"{band:.6f}"))
    last: float | None = None
    for number, value in enumerate(values):
        for each in shaper.shaped(0, how, [at(number, value)], number):
            last = float(each.value)
        assert last is not None
        assert abs(last - value) <= how.deadband


def test_a_deadband_in_percent_is_of_the_last_value_sent_and_a_heartbeat_breaks_it() -> None:
    how = made(Shape(deadband="10%", heartbeat="1h"))
    day = [at(number * 60_000, 100.0 + number % 5) for number in range(1440)]
    found = sent(Shaper(), how, day)
    assert [each.time for each in found] == [hour * 3_600_000 for hour in range(24)]
    assert [each.value for each in sent(Shaper(), how, [at(0, 100), at(1, 109), at(2, 111), at(3, 101)])] == [100, 111]


def test_a_change_of_quality_kind_or_text_is_always_sent() -> None:
    how = made(Shape(deadband="5", every="10s"))
    assert len(sent(Shaper(), how, [at(0, 1.0), at(1, 1.0, "bad"), at(2, 1.0)])) == 3
    assert (
        len(sent(Shaper(), made(Shape(deadband="5")), [at(0, "a"), at(1, "a"), at(2, "b"), at(3, 1), at(4, True)])) == 4
    )


def test_a_rate_lets_one_reading_a_span_through_for_days() -> None:
    found = sent(Shaper(), made(Shape(every="1m")), [at(time, time) for time in range(0, 2 * DAY, 10_000)])
    assert len(found) == 2 * 1440


def test_windows_by_the_device_s_time_hold_all_of_three_days_also_out_of_order_and_over_a_kill() -> None:
    chance, how = random.Random(3), made(Shape(window=Window("1m", ("count", "min", "max", "mean", "last"), "30s")))
    times = [time + chance.randint(-10_000, 10_000) for time in range(DAY, 4 * DAY, 20_000)]
    shaper, found = Shaper(), []
    for number, time in enumerate(times):
        found += shaper.shaped(0, how, [at(time, number)], time)
        if number % 1000 == 0:
            shaper = Shaper(shaper.dump())  # as after a kill: what was committed is what is known
    found += shaper.closed(10 * DAY)
    counts = [each for each in found if each.metric == "t.count"]
    raw = [each for each in found if each.metric == "t"]
    assert sum(int(each.value) for each in counts) + len(raw) == len(times)
    assert not raw, "nothing was late: the disorder is less than the lateness"
    assert len({each.time for each in counts}) == len(counts)
    assert {each.unit for each in counts} == {""}
    assert not shaper.has_windows


def test_a_window_has_least_most_mean_and_last_and_what_comes_after_its_end_is_sent_as_it_is() -> None:
    how = made(Shape(window=Window("1m", ("min", "max", "mean", "count", "last"), "0s")))
    readings = [at(5, 4.0), at(30_000, 1.0, "uncertain"), at(20_000, 7), at(60_000, 9.0), at(40_000, 100.0)]
    found = sent(Shaper(), how, readings)
    assert [(each.metric, each.value) for each in found] == [
        ("t.min", 1.0), ("t.max", 7.0), ("t.mean", 4.0), ("t.count", 3), ("t.last", 1.0), ("t", 100.0),
    ]  # fmt: skip
    assert {each.quality for each in found[:-1]} == {"uncertain"}


def test_open_windows_are_bounded_and_what_opens_none_is_sent_as_it_is() -> None:
    shaper, how = Shaper(), made(Shape(window=Window("1h")))
    readings = [Reading(f"d{number}", "t", 0, 1.0) for number in range(MAX_WINDOWS + 5)]
    assert len(shaper.shaped(0, how, readings, 0)) == 5


@pytest.mark.parametrize(
    "shape",
    [
        Shape(), Shape(deadband="-1"), Shape(deadband="nan"), Shape(deadband="x%"), Shape(every="soon"),
        Shape(heartbeat="1m"), Shape(deadband="1", every="1h", heartbeat="1m"), Shape(every="1s", window=Window("1m")),
        Shape(window=Window("2d")), Shape(window=Window("1m", ())), Shape(window=Window("1m", ("min", "min"))),
    ],
)  # fmt: skip
def test_a_shape_that_says_nothing_or_nonsense_is_refused(shape: Shape) -> None:
    with pytest.raises(WireError, match=r"^shape"):
        shaping(shape, "shape")


def test_one_flooding_device_empties_its_own_bucket_only() -> None:
    admission = Admission(Bounds(rate=10, burst=20))
    one, other = [Reading("a", "t", 0, 1)], [Reading("b", "t", 0, 1)]
    answers = [admission.refusal(one, 0, 0.0, believed=True) for _ in range(30)]
    assert [each.reason for each in answers if each] == ["Flood"] * 10
    assert admission.refusal(other, 0, 0.0, believed=True) is None
    assert admission.refusal(one, 0, 0.1, believed=True) is None
    assert admission.refusal(one, 0, 0.1, believed=True) is not None


def test_floods_of_device_names_take_bounded_memory() -> None:
    admission = Admission(Bounds(rate=1, burst=1))
    for number in range(MAX_DEVICES + 50):
        admission.refusal([Reading(f"d{number}", "t", 0, 1)], 0, 0.0, believed=True)
    assert len(admission._buckets) == MAX_DEVICES


def test_times_ahead_of_and_long_before_the_node_s_clock_are_refused_only_where_that_is_right() -> None:
    admission = Admission(Bounds(ahead=DAY, age=30 * DAY))
    now = 100 * DAY
    for time, reason in ((now + DAY + 1, "FutureTime"), (now - 30 * DAY - 1, "AncientTime"), (now + DAY, None)):
        found = admission.refusal([Reading("a", "t", time, 1)], now, 0.0, believed=True)
        assert (found.reason if found else None) == reason
        assert admission.refusal([Reading("a", "t", time, 1)], now, 0.0, believed=False) is None
