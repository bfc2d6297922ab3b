"""Coarser copies come to what the readings come to, however and in whichever order they are added up."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from holdfast_hub.core.sums import NOTHING, Sums, begin, coarser, merged

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

values = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(-1000, 1000).map(lambda n: n / 4))
readings = st.lists(st.tuples(st.integers(-2 * DAY, 2 * DAY), values), max_size=60)


def of_one(time: int, value: float | int | None, sequence: int) -> Sums:
    if value is None:
        return Sums(1, 0, None, None, 0.0, None, (time, 1, sequence))
    return Sums(1, 1, value, value, float(value), value, (time, 1, sequence))


def each(given: Sequence[tuple[int, float | int | None]]) -> list[tuple[int, Sums]]:
    return [(time, of_one(time, value, number)) for number, (time, value) in enumerate(given)]


def copy_of(given: Sequence[tuple[int, Sums]], every: int) -> dict[int, Sums]:
    found: dict[int, Sums] = {}
    for time, one in given:  # one by one, as late ones come
        start = begin(time, every)
        found[start] = merged([found.get(start, NOTHING), one])
    return found


@given(readings)
def test_a_copy_of_a_copy_is_the_copy_of_the_readings(given: list[tuple[int, float | int | None]]) -> None:
    alone = each(given)
    minutes = copy_of(alone, MINUTE)
    assert coarser(minutes, HOUR) == copy_of(alone, HOUR)
    assert coarser(coarser(minutes, HOUR), DAY) == copy_of(alone, DAY) == coarser(minutes, DAY)


@given(readings, st.randoms(use_true_random=False))
def test_the_order_in_which_readings_come_changes_nothing(
    given: list[tuple[int, float | int | None]], chance: object
) -> None:
    alone = each(given)
    shuffled = list(alone)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert copy_of(shuffled, HOUR) == copy_of(alone, HOUR)


@given(readings)
def test_a_copy_says_what_the_readings_of_its_time_say(given: list[tuple[int, float | int | None]]) -> None:
    for start, sums in copy_of(each(given), HOUR).items():
        rows = [row for row in enumerate(given) if start <= row[1][0] < start + HOUR]
        numbers = [value for _, (_, value) in rows if value is not None]
        assert (sums.count, sums.numbers) == (len(rows), len(numbers))
        assert (sums.least, sums.greatest) == (min(numbers, default=None), max(numbers, default=None))
        assert sums.mean == (sum(numbers) / len(numbers) if numbers else None)
        assert sums.last == max(rows, key=lambda row: (row[1][0], row[0]))[1][1]
