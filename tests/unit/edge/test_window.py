"""The memory of what was taken: bounded, confirmed by marks, and the same after it was committed and read back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_edge.ingest.memory import ASKED, CHUNK, CHUNKS, SLOTS, Memory, Window, entry_of


class Kept:
    """A window and the rows it is committed to."""

    def __init__(self) -> None:
        self.memory = msgspec.msgpack.encode(Memory())
        self.rows: dict[int, bytes] = {}
        self.written = 0
        self.window = Window(Memory(), self.row)

    def row(self, slot: int) -> bytes:
        return self.rows.get(slot, b"")

    def commit(self) -> None:
        self.memory = msgspec.msgpack.encode(self.window.dump())
        self.rows |= self.window.unsaved()
        self.written += len(self.memory) + sum(map(len, self.window.unsaved().values()))
        self.window.saved()

    def die(self) -> None:
        self.window = Window(msgspec.msgpack.decode(self.memory, type=Memory), self.row)

    def add(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.window.add(entry(number))

    def known(self, first: int, count: int) -> int:
        return sum(entry(number) in self.window for number in range(first, first + count))


def entry(number: int) -> bytes:
    return number.to_bytes(10, "big")


def test_what_was_committed_is_known_after_a_kill_and_nothing_else() -> None:
    kept = Kept()
    for first in range(0, 6 * CHUNK, CHUNK // 2):
        kept.add(first, CHUNK // 2)
        kept.commit()
    kept.add(6 * CHUNK, 10)
    kept.die()
    assert kept.known(0, 6 * CHUNK) == len(kept.window) == 6 * CHUNK


def test_a_commit_writes_what_is_new_and_not_all_that_is_remembered() -> None:
    kept = Kept()
    kept.window.begin()
    kept.add(0, 40 * CHUNK)
    kept.commit()
    kept.written = 0
    for number in range(100):
        kept.add(50 * CHUNK + number, 1)
        kept.commit()
    assert kept.written < 100 * 2 * CHUNK


@pytest.mark.parametrize(("asked", "chunks"), [(True, ASKED), (False, CHUNKS)])
def test_it_is_bounded_by_messages_and_longer_where_a_broker_is_asked(asked: bool, chunks: int) -> None:
    kept = Kept()
    if asked:
        kept.window.begin()
    for first in range(0, 150 * CHUNK, CHUNK):
        kept.add(first, CHUNK)
        kept.commit()
    assert len(kept.window) == chunks * CHUNK < 65_535
    assert kept.known((150 - chunks) * CHUNK, chunks * CHUNK) == chunks * CHUNK
    assert len(kept.rows) <= SLOTS
    kept.die()
    assert len(kept.window) == chunks * CHUNK


def test_many_short_connections_forget_nothing_before_its_time() -> None:
    kept = Kept()
    for number in range(500):
        kept.window.begin()
        kept.add(number, 1)
        kept.commit()
    kept.die()
    assert kept.known(0, 500) == 500


def test_a_mark_confirms_what_this_connection_took_and_leaves_the_rest_in_doubt() -> None:
    kept = Kept()
    kept.add(0, 300)
    kept.window.begin()
    kept.add(CHUNK, 3 * CHUNK)
    kept.commit()
    mark = kept.window.mark
    kept.add(8 * CHUNK, 50)
    kept.window.confirm(mark)
    kept.commit()
    kept.die()
    assert kept.known(0, 300) == 300
    assert kept.known(8 * CHUNK, 50) == 50


def test_what_is_confirmed_is_known_no_more_to_the_message() -> None:
    kept = Kept()
    kept.window.begin()
    kept.add(0, 70)
    mark = kept.window.mark
    kept.add(70, 30)
    assert kept.window.asked == 100
    kept.window.confirm(mark)
    assert (kept.known(0, 70), kept.known(70, 30), kept.window.asked) == (0, 30, 30)


def test_an_entry_that_came_anew_outlives_the_confirmation_of_the_first() -> None:
    kept = Kept()
    kept.window.begin()
    kept.add(1, 1)
    mark = kept.window.mark
    kept.add(1, 1)
    kept.window.confirm(mark)
    assert kept.known(1, 1) == 1


def test_a_new_session_forgets_all() -> None:
    kept = Kept()
    kept.add(0, 3 * CHUNK)
    kept.commit()
    kept.window.clear()
    assert len(kept.window) == kept.known(0, 3 * CHUNK) == 0
    kept.add(0, 5)
    kept.commit()
    kept.die()
    assert len(kept.window) == 5


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 1500)),
            st.tuples(st.sampled_from(["begin", "mark", "confirm", "commit", "die"]), st.just(0)),
        ),
        max_size=25,
    )
)
def test_whatever_happens_what_is_in_doubt_is_known(steps: list[tuple[str, int]]) -> None:
    kept, number, mark, began, committed = Kept(), 0, (0, 0), 0, 0
    doubtful: set[int] = set()  # added and never confirmed
    for what, count in steps:
        match what:
            case "add":
                kept.add(number, count)
                doubtful |= set(range(number, number + count))
                number += count
            case "begin":
                kept.window.begin()
                began, mark = number, (number, kept.window.mark)
            case "mark":
                mark = (number, kept.window.mark)
            case "confirm":
                kept.window.confirm(mark[1])
                doubtful -= set(range(began, mark[0]))
            case "commit":
                kept.commit()
                committed = number
            case "die":
                kept.die()
                doubtful = {each for each in doubtful if each < committed}
                kept.window.begin()
                began, mark = number, (number, kept.window.mark)
        newest = {each for each in doubtful if each >= number - CHUNKS * CHUNK + 2 * CHUNK}
        assert all(entry(each) in kept.window for each in newest)


def test_entries_differ_by_identifier_topic_and_payload() -> None:
    found = {entry_of(1, "a", b"b"), entry_of(2, "a", b"b"), entry_of(1, "ab", b""), entry_of(1, "a", b"c")}
    assert {len(each) for each in found} == {10}
    assert len(found) == 4
