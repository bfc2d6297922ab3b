"""From one target to the next, or back: every step of the table."""

import pytest

from holdfast_edge.core.transaction import (
    MAX_RESTARTS,
    RESTART,
    UNSEEN,
    Limits,
    Now,
    Open,
    Seen,
    Stage,
    Transaction,
    Tried,
    again_in,
    begun,
    looked,
    prepared,
    resumed,
)
from holdfast_protocol.wire.messages import Cause
from holdfast_protocol.wire.names import ResourceKey
from support.builders import a_target

LIMITS = Limits(prepare=300, progress=120, soak=60)
WHY = Cause("apply", "File/a", "Busy", "busy")
KEY = ResourceKey("File/a")
GOOD = Seen(settled=True)
WORKING = Seen(settled=False)
TROUBLE = Seen(settled=False, open={KEY: Open(WHY, 120)})
BROKEN = Seen(settled=False, open={KEY: Open(WHY, 120, final=True)})


def now(at: float, *, protects: bool = True, boot: str = "boot", limits: Limits = LIMITS) -> Now:
    return Now(at, boot, limits, protects)


def at_stage(stage: Stage, at: float = 0.0) -> Transaction:
    return Transaction(
        1, 2, "d2", "w2", stage, counted_at=at, boot_id="boot", soaked=0.0 if stage == "verifying" else None
    )


def after(it: Transaction, *looks: tuple[float, Seen], protects: bool = True) -> Transaction:
    for at, seen in looks:
        it = looked(it, seen, now(at, protects=protects))
    return it


def every(seconds: float, until: float, seen: Seen) -> list[tuple[float, Seen]]:
    return [(n * seconds, seen) for n in range(1, int(until / seconds) + 1)]


@pytest.mark.parametrize(
    ("tried", "protects", "stage"),
    [
        (Tried(done=False), True, "preparing"),
        (Tried(done=True), True, "applying"),
        (Tried(done=False, trouble=WHY), True, "preparing"),
        (Tried(done=False, refusal=WHY), True, "rejected"),
        (Tried(done=True, refusal=WHY), True, "rejected"),
        (Tried(done=False), False, "applying"),
    ],
)
def test_a_target_is_applied_when_all_is_prepared_and_rejected_before_any_change(
    tried: Tried, protects: bool, stage: Stage
) -> None:
    assert prepared(begun(a_target(), now(0)), tried, now(1, protects=protects)).stage == stage


def test_what_could_not_be_prepared_in_time_is_rejected_with_the_last_trouble() -> None:
    it = begun(a_target(), now(0))
    for at in range(30, 300, 30):
        it = prepared(it, Tried(done=False, trouble=WHY), now(at))
        assert it.stage == "preparing"
    it = prepared(it, Tried(done=False, trouble=WHY), now(300))
    assert (it.stage, it.cause) == ("rejected", WHY)


def test_waiting_for_a_window_uses_up_no_deadline() -> None:
    it = begun(a_target(), now(0))
    for at in range(30, 3000, 30):
        it = prepared(it, Tried(done=False, waits=True), now(at))
    held = after(at_stage("applying"), *every(30, 3000, Seen(settled=False, open={KEY: Open(WHY, 120)}, waits=True)))
    assert (it.stage, held.stage) == ("preparing", "applying")


def test_all_as_wanted_for_the_soak_is_stable() -> None:
    it = after(at_stage("applying"), (1, WORKING), (2, GOOD), (61, GOOD))
    assert (it.stage, again_in(it, now(61))) == ("verifying", 1.0)
    assert after(it, (62, GOOD)).stage == "stable"


def test_trouble_during_the_soak_starts_it_again() -> None:
    it = after(at_stage("verifying"), (50, GOOD), (55, WORKING), (56, GOOD), (115, GOOD))
    assert it.stage == "verifying"
    assert after(it, (116, GOOD)).stage == "stable"


def test_a_site_that_never_gets_steady_goes_back_in_the_end() -> None:
    it = at_stage("verifying")
    for n in range(1, 200):
        it = after(it, (n * 10, GOOD if n % 3 else WORKING))
        if it.stage != "verifying":
            break
    assert (it.stage, it.cause and it.cause.reason, it.counted_at) == ("rolling-back", "Unsteady", 180)


@pytest.mark.parametrize(("protects", "stage"), [(True, "rolling-back"), (False, "degraded")])
@pytest.mark.parametrize("from_", ["applying", "verifying"])
def test_what_fails_for_good_ends_the_way_forward_at_once(from_: Stage, protects: bool, stage: Stage) -> None:
    it = after(at_stage(from_), (1, BROKEN), protects=protects)
    assert (it.stage, it.cause) == (stage, WHY)


def test_rollback_can_be_switched_off() -> None:
    limits = Limits(rollback=False)
    assert looked(at_stage("applying"), BROKEN, now(1, limits=limits)).stage == "degraded"
    assert prepared(at_stage("preparing"), Tried(True, WHY), now(1, limits=limits)).stage == "applying"


def test_what_may_pass_has_until_its_deadline_and_a_resource_its_own() -> None:
    assert after(at_stage("applying"), *every(30, 119, TROUBLE)).stage == "applying"
    assert after(at_stage("applying"), *every(30, 120, TROUBLE)).stage == "rolling-back"
    longer = Seen(settled=False, open={KEY: Open(WHY, 600)})
    assert after(at_stage("applying"), *every(30, 590, longer)).stage == "applying"


def test_time_nobody_looked_counts_a_minute_at_most() -> None:
    it = after(at_stage("applying"), (1, TROUBLE), (90_000, TROUBLE))
    assert (it.stage, it.pending[KEY]) == ("applying", 1 + UNSEEN)


def test_without_a_last_good_one_it_goes_on_trying_and_can_still_get_there() -> None:
    it = after(at_stage("applying"), (1, BROKEN), protects=False)
    assert after(it, (2, BROKEN), protects=False) is it
    assert after(it, (2, GOOD), (62, GOOD), protects=False).stage == "stable"


def test_back_is_reached_or_not_with_both_causes_and_never_left() -> None:
    back = after(at_stage("applying"), (1, BROKEN))
    assert after(back, (2, WORKING), (3, GOOD)).stage == "rolled-back"
    other = Cause("apply", "File/b", "DiskFull", "no room")
    stuck = after(back, (2, Seen(settled=False, open={ResourceKey("File/b"): Open(other, 9, final=True)})))
    assert (stuck.stage, stuck.cause, stuck.second) == ("stuck", WHY, other)
    assert after(stuck, (3, BROKEN)) is stuck
    mended = after(stuck, (4, GOOD))
    assert (mended.stage, mended.cause, mended.second) == ("rolled-back", WHY, None)


@pytest.mark.parametrize("stage", ["stable", "rolled-back", "rejected"])
def test_at_the_end_looks_change_nothing(stage: Stage) -> None:
    it = at_stage(stage)
    assert after(it, (1, BROKEN), (1e6, GOOD)) is it
    assert resumed(it, now(5, boot="next"), interrupted=True) is it


def test_a_restart_begins_the_soak_anew_and_counts_for_the_deadlines() -> None:
    it = resumed(after(at_stage("verifying"), (50, GOOD)), now(3, boot="next"), interrupted=False)
    assert (it.soaked, it.spent) == (None, 50 + RESTART)
    it = looked(it, GOOD, now(4, boot="next"))
    assert looked(it, GOOD, now(63, boot="next")).stage == "verifying"
    assert looked(it, GOOD, now(64, boot="next")).stage == "stable"


def test_a_target_that_keeps_ending_the_machine_is_gone_back_from() -> None:
    it = at_stage("applying")
    for number in range(MAX_RESTARTS):
        assert it.stage == "applying"
        it = resumed(it, now(5, boot=f"boot {number}"), interrupted=True)
        it = looked(it, WORKING, now(6, boot=f"boot {number}"))
    assert (it.stage, it.cause and it.cause.reason) == ("rolling-back", "RestartLoop")
