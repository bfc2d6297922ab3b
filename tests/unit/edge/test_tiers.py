"""Which groups at the end of a stream become one: like the digits of a number, so that a row is written few times."""

from holdfast_edge.store.outbox_tiers import FANOUT, LOOKED_AT, Tail, mergeable
from holdfast_protocol.wire.readings import MAX_RAW, MAX_ROWS


def grown(appends: int, size: int) -> tuple[list[int], int]:
    """Return the sizes of the groups after so many appends, the newest last, and how many rows were written anew."""
    groups: list[int] = []
    written = loose = 0
    for _ in range(appends):
        groups.append(size)
        loose += 1
        if loose < FANOUT:
            continue
        loose = 0
        if number := mergeable(tails(groups[-LOOKED_AT:])):
            total = sum(groups[-number:])
            written += total
            groups[-number:] = [total]
    return groups, written


def tails(groups: list[int]) -> list[Tail]:
    found, first = [], 1
    for count in groups:
        found.append(Tail(first, count, 50 * count, ("readings",)))
        first += count
    return found[::-1]


def test_three_days_at_one_reading_a_second_are_a_few_large_groups_and_no_row_is_written_often() -> None:
    rows = 3 * 86_400
    groups, written = grown(rows, 1)
    assert sum(groups) == rows
    assert len(groups) < rows / 400
    assert written / rows < 5


def test_no_group_is_larger_than_the_limit_and_full_ones_are_left_alone() -> None:
    groups, written = grown(200, 500)
    assert max(groups) <= MAX_ROWS
    assert written <= 200 * 500
    assert mergeable(tails([MAX_ROWS // 4] * 40)) == 0


def test_groups_of_another_sort_or_apart_or_too_large_are_not_merged() -> None:
    alike = tails([1] * 8)
    assert mergeable(alike) == 8
    assert mergeable([*alike[:7], Tail(1, 1, 50, ("records",))]) == 0
    assert mergeable([*alike[:7], Tail(0, 1, 50, ("readings",))]) == 0
    assert mergeable([Tail(each.first, each.count, MAX_RAW // 8, each.sort) for each in alike]) == 0
    assert mergeable([]) == 0
