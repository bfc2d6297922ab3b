"""Downsampling keeps true readings, peaks among them, and at most a quarter of a long series."""

import math

from hypothesis import given
from hypothesis import strategies as st

from holdfast_edge.core.thinning import RUN, thinned
from holdfast_protocol.wire.readings import Series


def series(values: list[object], kind: str = "float") -> Series:
    return Series("d", "m", "", "good", kind, list(range(len(values))), values)  # type: ignore[arg-type]


def test_of_eight_numbers_the_smallest_and_the_largest_stay_with_their_times() -> None:
    (found,) = thinned([series([5.0, 1.0, 4.0, 9.0, 2.0, 3.0, 6.0, 7.0, 8.0])])
    assert (found.times, found.values) == ([1, 3, 8], [1.0, 9.0, 8.0])


def test_of_flags_and_texts_the_first_and_the_last_stay() -> None:
    flags, texts = thinned([series([True] * 7 + [False], "bool"), series([*"abcdefghi"], "text")])
    assert (flags.values, texts.values) == ([True, False], ["a", "h", "i"])


def test_what_is_not_a_number_is_no_peak() -> None:
    (found,) = thinned(
        [
            series([math.nan, 2.0, math.nan, 1.0]),
        ]
    )
    assert found.values == [2.0, 1.0]
    (none,) = thinned([series([math.nan] * 3)])
    assert len(none.values) == 1


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=100))
def test_any_series_keeps_its_extremes_its_order_and_two_of_eight(values: list[int]) -> None:
    (found,) = thinned([series(list(values), "int")])
    assert {min(values), max(values)} <= set(found.values)
    assert list(found.times) == sorted(set(found.times))
    assert all(values[time] == value for time, value in zip(found.times, found.values, strict=True))
    assert len(found.values) <= 2 * math.ceil(len(values) / RUN)
