"""Whatever is seen, a target ends, is gone back from once at most, and nothing flips."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_edge.core.transaction import (
    BACK,
    ENDED,
    FORWARD,
    Limits,
    Now,
    Open,
    Seen,
    Transaction,
    Tried,
    begun,
    looked,
    prepared,
    resumed,
)
from holdfast_protocol.wire.messages import Cause
from holdfast_protocol.wire.names import ResourceKey
from support.builders import a_target

KEYS = [ResourceKey(f"File/{name}") for name in "abc"]
LIMITS = Limits(prepare=300, progress=120, soak=60)
WHY = Cause("apply", "File/a", "Busy")

opens = st.builds(Open, st.just(WHY), st.sampled_from([60.0, 120.0]), st.booleans())
sights = st.one_of(
    st.just(Seen(settled=True)), st.builds(Seen, st.just(False), st.dictionaries(st.sampled_from(KEYS), opens))
)
tries = st.builds(Tried, st.booleans(), st.one_of(st.none(), st.just(WHY)), st.one_of(st.none(), st.just(WHY)))
events = st.one_of(sights, tries, st.sampled_from(["restart", "reboot", "newer"]))


class World:
    def __init__(self, protects: bool) -> None:
        self.at, self.boots, self.generation, self.protects = 0.0, 0, 1, protects
        self.it = begun(a_target(), self.now())

    def now(self) -> Now:
        return Now(self.at, f"boot {self.boots}", LIMITS, self.protects)

    def meets(self, event: object, after: float) -> None:
        self.at += after
        match event:
            case Seen():
                self.it = looked(self.it, event, self.now())
            case Tried():
                self.it = prepared(self.it, event, self.now())
            case "newer":
                self.generation += 1
                self.it = begun(a_target(generation=self.generation), self.now())
            case _:
                if event == "reboot":
                    self.at, self.boots = 5.0, self.boots + 1
                self.it = resumed(self.it, self.now(), interrupted=event == "restart")


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(st.tuples(events, st.floats(0, 200)), max_size=60))
@pytest.mark.invariant("newer-target-cancels-retries")
def test_a_target_goes_forward_then_back_and_never_forward_again(
    protects: bool, happening: list[tuple[object, float]]
) -> None:
    world = World(protects)
    for event, after in happening:
        before = world.it
        world.meets(event, after)
        if event == "newer":
            assert (world.it.generation, world.it.stage) == (world.generation, "preparing")
            continue
        if before.stage in BACK:
            assert world.it.stage in BACK
        if before.stage in FORWARD:
            assert world.it.stage != "preparing"
        if before.stage in ENDED:
            assert world.it is before
        if world.it.stage in BACK:
            assert protects
            assert world.it.cause is not None


@settings(max_examples=200, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(events.filter(lambda event: event != "newer"), st.floats(0, 60)), max_size=30),
    st.lists(sights, min_size=1, max_size=4),
)
def test_whatever_goes_on_and_on_a_protected_target_ends_or_is_shown_why_not(
    protects: bool, before: list[tuple[object, float]], cycle: list[Seen]
) -> None:
    """A machine that repeats any cycle of sights for ever, each resource having its turn in every one that is not good."""
    world = World(protects)
    for event, after in before:
        world.meets(event, after)
    world.meets(Tried(done=True), 1)
    every = [each if each.settled or each.open else Seen(False, {KEYS[0]: Open(WHY, 120)}) for each in cycle]
    for turn in range(400):
        world.meets(every[turn % len(every)], 10)
        if world.it.stage in ENDED:
            return
    ended: Transaction = world.it
    if ended.stage == "degraded":
        assert not protects
    else:  # going forward or back without a last-good one, steady for less than the soak: it says so and goes on
        assert ended.stage == "stuck" or not protects
        assert ended.stage != "stuck" or ended.second is not None
