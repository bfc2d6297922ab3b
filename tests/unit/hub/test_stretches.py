"""Times fall into few stretches that have all of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast_hub.core.stretches import APART, MOST, stretches


@given(st.lists(st.one_of(st.integers(0, 10**12), st.integers(0, 10 * APART)), max_size=80))
def test_every_time_is_in_one_of_a_few_stretches_that_lie_apart(times: list[int]) -> None:
    found = stretches(times)
    assert len(found) <= MOST
    assert {edge for stretch in found for edge in stretch} <= set(times)
    assert all(sum(since <= time <= until for since, until in found) == 1 for time in times)
    assert all(later[0] - earlier[1] > APART for earlier, later in pairwise(found))


def test_a_clock_that_is_off_and_one_that_is_not_are_two() -> None:
    now = 1_700_000_000_000
    assert stretches([now, 5, now + 1, 0, now + APART]) == [(0, 5), (now, now + APART)]
