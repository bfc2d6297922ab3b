"""When a step may run again."""

import pytest

from holdfast_edge.core.attempts import (
    BUDGET,
    COOL_DOWN,
    FREE_REPAIRS,
    LASTED,
    LONGEST,
    Attempt,
    backoff,
    done,
    due,
    due_at,
    failed,
)
from holdfast_edge.core.steps import Remove
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from holdfast_protocol.wire.names import ResourceKey

KEY = ResourceKey("File/a")


def fail(previous: Attempt | None, error: ProviderError, now: float = 0.0, digest: str = "d1") -> Attempt:
    return failed(previous, KEY, digest, error, now=now, boot_id="boot", jitter=1.0)


def at(attempt: Attempt | None, digest: str = "d1", now: float = 0.0, boot: str = "boot") -> float | None:
    return due_at(attempt, digest, now=now, boot_id=boot)


def test_failures_back_off_doubling_from_one_second_to_five_minutes() -> None:
    attempt: Attempt | None = None
    waits = []
    for _ in range(12):
        attempt = fail(attempt, TransientError("busy"))
        waits.append(at(attempt))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_jitter_spreads_the_upper_half_and_never_more() -> None:
    assert [backoff(3, jitter) for jitter in (0.0, 0.5, 1.0)] == [2.0, 3.0, 4.0]
    assert backoff(10_000, 1.0) == LONGEST


def test_a_provider_can_ask_for_longer_but_not_for_sooner() -> None:
    assert at(fail(None, TransientError("busy", after=40))) == 40
    assert at(fail(None, TransientError("busy", after=0.001))) == 1


@pytest.mark.parametrize("error", [PermanentError("no"), ProviderError("unclassified")])
def test_a_permanent_failure_is_tried_again_rarely_in_case_the_machine_was_mended(error: ProviderError) -> None:
    assert at(fail(None, error)) == LONGEST
    assert at(fail(fail(None, error), error)) == LONGEST


def test_what_is_unsupported_is_not_tried_again_at_this_digest() -> None:
    assert at(fail(None, UnsupportedError("never here")), now=1e9) is None


@pytest.mark.invariant("newer-target-cancels-retries")
@pytest.mark.parametrize("error", [TransientError("busy", after=300), PermanentError("no")])
def test_a_newer_digest_may_run_at_once_and_counts_from_one(error: ProviderError) -> None:
    old = fail(fail(None, error), error)
    assert at(old, digest="d2") == 0.0
    assert fail(old, TransientError("busy"), digest="d2").count == 1


def test_after_a_reboot_the_count_stays_and_the_wait_is_over() -> None:
    old = fail(fail(None, TransientError("busy")), TransientError("busy"), now=5000)
    assert at(old, now=10, boot="next") == 10
    assert fail(old, TransientError("busy")).count == 3


def test_a_success_ends_the_failures() -> None:
    attempt = done(fail(None, TransientError("busy")), KEY, "d1", now=50, boot_id="boot", jitter=1.0)
    assert at(attempt, now=50) == 50
    assert fail(attempt, TransientError("busy")).count == 1


def test_repairs_that_do_not_last_are_slowed_down_and_ones_that_last_are_not() -> None:
    attempt: Attempt | None = None
    now, waits = 0.0, []
    for _ in range(FREE_REPAIRS + 4):
        attempt = done(attempt, KEY, "d1", now=now, boot_id="boot", jitter=1.0)
        waits.append(attempt.not_before - now)
        now = attempt.not_before
    assert waits == [0] * FREE_REPAIRS + [1, 2, 4, 8]
    assert done(attempt, KEY, "d1", now=now + 3600, boot_id="boot", jitter=1.0).count == 1


def test_after_its_budget_a_contest_is_not_joined_before_a_long_cool_down_or_a_newer_digest() -> None:
    attempt: Attempt | None = None
    now = 0.0
    for _ in range(BUDGET + 1):
        attempt = done(attempt, KEY, "d1", now=now, boot_id="boot", jitter=1.0, differences=("mode: 0644, not 0600",))
        now = attempt.not_before
    assert attempt is not None
    assert (attempt.outcome, attempt.reason) == ("contested", "Contested")
    assert attempt.message == f"changed back {BUDGET} times: mode: 0644, not 0600"
    assert attempt.not_before - attempt.at == COOL_DOWN
    assert at(attempt, "d2", now=attempt.at) == attempt.at
    again = done(attempt, KEY, "d1", now=now, boot_id="boot", jitter=1.0)
    assert (again.outcome, again.not_before - now) == ("contested", COOL_DOWN)
    lasted = done(again, KEY, "d1", now=again.not_before + LASTED, boot_id="boot", jitter=1.0)
    assert (lasted.outcome, lasted.count) == ("done", 1)


def test_a_plan_is_split_by_what_may_run() -> None:
    steps = [Remove(ResourceKey(f"File/{name}"), {}) for name in "abc"]
    tried = {
        ResourceKey("File/b"): failed(
            None, ResourceKey("File/b"), "", TransientError("busy"), now=10, boot_id="boot", jitter=1.0
        ),
        ResourceKey("File/c"): failed(
            None, ResourceKey("File/c"), "", UnsupportedError("no"), now=10, boot_id="boot", jitter=1.0
        ),
    }
    split = due(steps, tried, now=10, boot_id="boot")
    assert [step.key for step in split.now] == ["File/a"]
    assert split.later == {"File/b": 11.0, "File/c": None}
    assert split.next_at == 11.0
