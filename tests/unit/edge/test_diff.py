"""The plan: what is possible now."""

import random
from typing import Any

import pytest

from holdfast_edge.core.diff import Owned, diff
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.order import dependencies
from holdfast_edge.core.steps import Create, Held, Remove, Step, Update, Wait, describe
from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource
from support.builders import file_body


def file(name: str, *after: str, content: str = "x") -> Resource:
    body = file_body(name, f"/srv/{name}", content)
    return resource(body, depends_on=tuple(ResourceKey(f"File/{each}") for each in after))


def seen(key: str, exists: bool = True, *differences: str, readiness: Any = "ready") -> Observed:
    return Observed(ResourceKey(key), exists, differences, readiness)


def plan(
    wanted: list[Resource],
    observed: list[Observed],
    owned: dict[str, Owned] | None = None,
    holds: tuple[Hold, ...] = (),
    unsupported: frozenset[str] = frozenset(),
) -> tuple[Step, ...]:
    return diff(
        {each.key: each for each in wanted},
        dependencies(wanted),
        {each.key: each for each in observed},
        {ResourceKey(key): thing for key, thing in (owned or {}).items()},
        holds,
        frozenset(ResourceKey(key) for key in unsupported),
    )


def ours(name: str, *after: str, digest: str = "applied") -> Owned:
    return Owned(file_body(name), digest, tuple(ResourceKey(f"File/{each}") for each in after))


A, B = file("a"), file("b", "a")


def test_what_is_missing_is_created_and_what_differs_updated() -> None:
    assert plan([file("a"), file("c")], [seen("File/a", False), seen("File/c", True, "mode: 0600")]) == (
        Create(file("a")),
        Update(file("c"), ("mode: 0600",)),
    )


def test_everything_as_wanted_is_the_empty_plan() -> None:
    assert plan([A, B], [seen("File/a"), seen("File/b")]) == ()


@pytest.mark.parametrize(
    "blocker", [seen("File/a", False), seen("File/a", True, "content"), seen("File/a", readiness="progressing")]
)
def test_a_dependent_waits_until_its_dependency_is_as_wanted_and_ready(blocker: Observed) -> None:
    assert Wait(B.key, (A.key,)) in plan([A, B], [blocker, seen("File/b", False)])


def test_a_dependent_that_is_as_wanted_waits_for_nothing() -> None:
    assert plan([A, B], [seen("File/a", False), seen("File/b")]) == (Create(A),)


def test_a_dependency_nobody_has_is_waited_for() -> None:
    lonely = file("b", "gone")
    assert plan([lonely], [seen("File/b", False)]) == (Wait(lonely.key, (ResourceKey("File/gone"),)),)


@pytest.mark.invariant("unknown-kind-is-kept-not-fatal")
def test_what_this_machine_cannot_do_gets_no_step_and_holds_up_nothing() -> None:
    steps = plan([A, B], [seen("File/a", False), seen("File/b", False)], unsupported=frozenset({"File/a"}))
    assert steps == (Create(B),)


def test_what_nobody_could_look_at_gets_no_step() -> None:
    assert plan([A], []) == ()


@pytest.mark.invariant("only-owned-things-are-removed")
def test_only_what_is_owned_and_not_wanted_is_removed() -> None:
    steps = plan([A], [seen("File/a"), seen("File/stranger")], {"File/a": ours("a"), "File/old": ours("old")})
    assert steps == (Remove(ResourceKey("File/old"), file_body("old")),)


def test_removals_go_in_reverse_order() -> None:
    owned = {"File/low": ours("low"), "File/high": ours("high", "low")}
    low, high = ResourceKey("File/low"), ResourceKey("File/high")
    assert plan([], [], owned) == (Remove(high, file_body("high")), Wait(low, (high,), removing=True))


def test_a_thing_goes_only_after_what_used_it_was_changed() -> None:
    user = file("user", content="new")
    old = {"File/user": ours("user", "low", digest="old body"), "File/low": ours("low")}
    assert Wait(ResourceKey("File/low"), (user.key,), removing=True) in plan([user], [seen("File/user")], old)
    new = {"File/user": Owned(user.body, user.digest), "File/low": ours("low")}
    assert plan([user], [seen("File/user")], new) == (Remove(ResourceKey("File/low"), file_body("low")),)


def test_owned_things_in_a_circle_can_still_be_removed() -> None:
    owned = {"File/x": ours("x", "y"), "File/y": ours("y", "x")}
    assert Remove(ResourceKey("File/x"), file_body("x")) in plan([], [], owned)


def test_a_hold_covers_everything_or_what_it_names() -> None:
    missing = [seen("File/a", False), seen("File/c", False)]
    everything = Hold("h1", "cutting over", 0, "uid 0")
    assert plan([A, file("c")], missing, {"File/old": ours("old")}, (everything,)) == (
        Held(ResourceKey("File/old"), "h1", "cutting over", removing=True),
        Held(A.key, "h1", "cutting over"),
        Held(ResourceKey("File/c"), "h1", "cutting over"),
    )
    named = Hold("h2", "testing", 0, "uid 0", ("File/a",))
    assert plan([A, file("c")], missing, holds=(named,)) == (Create(file("c")), Held(A.key, "h2", "testing"))


def test_a_hold_on_what_is_as_wanted_says_nothing() -> None:
    assert plan([A], [seen("File/a")], holds=(Hold("h", "why", 0, "me"),)) == ()


@pytest.mark.invariant("same-inputs-same-plan")
def test_the_order_things_are_told_in_does_not_matter() -> None:
    wanted = [file(f"f{n}", *([f"f{n - 3}"] if n % 3 else [])) for n in range(3, 20)]
    looks = [seen(each.key, n % 2 == 0, *(["content"] if n % 2 == 0 else [])) for n, each in enumerate(wanted)]
    owned = {f"File/o{n}": ours(f"o{n}", *([f"o{n - 1}"] if n % 2 else [])) for n in range(6)}
    expected = plan(wanted, looks, owned)
    for seed in range(5):
        shuffle = random.Random(seed)
        mixed = list(owned.items())
        for part in (wanted, looks, mixed):
            shuffle.shuffle(part)
        assert plan(wanted, looks, dict(mixed)) == expected


def test_every_step_has_a_sentence() -> None:
    assert [describe(step) for step in (Create(A), Update(A, ("mode: 0600",)), Remove(A.key, {}))] == [
        "create File/a",
        "update File/a: mode: 0600",
        "remove File/a",
    ]
    assert describe(Wait(B.key, (A.key,))) == "File/b waits for File/a"
    assert describe(Wait(A.key, (B.key,), removing=True)) == "File/a is removed after File/b"
    assert describe(Held(A.key, "h1", "testing")) == "File/a is held by h1: testing"
