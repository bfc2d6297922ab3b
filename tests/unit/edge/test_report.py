"""The status: true, and only news."""

from typing import Any

import msgspec
import pytest

from holdfast_edge.core import report
from holdfast_edge.core.attempts import Attempt
from holdfast_edge.core.diff import Owned, diff
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.order import dependencies
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.messages import Condition, Hold, Progress, Status
from holdfast_protocol.wire.names import NodeName, ResourceKey
from holdfast_protocol.wire.target import Target
from support.builders import FLEET, SITE, a_target, file_body

ORIGIN = report.Origin(FLEET, SITE, NodeName("node-1"), "boot")
A, B = ResourceKey("File/a"), ResourceKey("File/b")
TARGET = a_target(file_body("a", "/srv/a"), file_body("b", "/srv/b"))


def seen(key: ResourceKey, exists: bool = True, *differences: str, **more: Any) -> Observed:
    return Observed(key, exists, differences, **more)


def tried(outcome: Any, count: int = 1, digest: str = "") -> Attempt:
    return Attempt(
        A,
        digest or TARGET.content.resources[0].digest,
        outcome,
        count,
        0.0,
        0.0,
        "boot",
        "Busy",
        "the disk is busy",
        "wait",
    )


def picture(
    *looks: Observed, target: Target | None = TARGET, holds: tuple[Hold, ...] = (), **fields: Any
) -> report.Picture:
    resources = target.content.resources if target else ()
    wanted = {each.key: each for each in resources}
    observed = {each.key: each for each in looks}
    owned: dict[ResourceKey, Owned] = fields.pop("owned", {})
    attempts: dict[ResourceKey, Attempt] = fields.pop("attempts", {})
    plan = diff(wanted, dependencies(resources), observed, owned, holds) if target else ()
    return report.Picture(
        target=target,
        held=fields.pop("held", target),
        wanted=wanted,
        observed=observed,
        owned=owned,
        plan=plan,
        attempts=attempts,
        holds=holds,
        **fields,
    )


def say(made: report.Picture, previous: Status | None = None, at: int = 1000) -> Status:
    return report.status(made, ORIGIN, previous, at=at, sequence=(previous.sequence if previous else 0) + 1)


def condition(status: Status, key: ResourceKey = A) -> tuple[str, str]:
    found = next(entry.condition for entry in status.resources if entry.key == key)
    return found.type, found.reason


def test_everything_as_wanted_and_ready_is_converged_with_the_targets_own_digest() -> None:
    status = say(picture(seen(A), seen(B)))
    assert (status.state, status.observed_digest, status.counts) == ("Converged", TARGET.digest, {"Ready": 2})


def test_a_target_that_only_takes_things_away_is_not_converged_while_it_is_prepared() -> None:
    before = picture(seen(A), seen(B))
    newest = a_target(file_body("a", "/srv/a"), generation=2)
    made = msgspec.structs.replace(before, target=newest, progress=Progress("preparing", held=1, last_good=1))
    assert say(made).state == "Progressing"


@pytest.mark.parametrize(
    "made",
    [
        picture(seen(A), seen(B, False)),
        picture(seen(A), seen(B, True, "content: differs")),
        picture(seen(A)),
        picture(seen(A), seen(B), owned={ResourceKey("File/old"): Owned(file_body("old"))}),
    ],
    ids=["missing", "differs", "not looked at", "not wanted and still there"],
)
def test_anything_else_observed_has_another_digest(made: report.Picture) -> None:
    status = say(made)
    assert status.observed_digest not in ("", TARGET.digest)
    assert status.state != "Converged"
    assert say(made).observed_digest == status.observed_digest


def test_as_wanted_and_not_yet_ready_is_progressing_with_the_right_digest() -> None:
    status = say(picture(seen(A, readiness="progressing", reason="Starting"), seen(B)))
    assert (status.state, status.observed_digest) == ("Progressing", TARGET.digest)
    assert condition(status) == ("Progressing", "Starting")


@pytest.mark.parametrize(
    ("attempt", "expected", "state"),
    [
        (tried("transient"), ("Progressing", "Busy"), "Progressing"),
        (tried("transient", 3), ("Degraded", "Busy"), "Degraded"),
        (tried("permanent"), ("Failed", "Busy"), "Degraded"),
        (tried("unsupported"), ("Unsupported", "Busy"), "Degraded"),
        (tried("done"), ("Progressing", "Missing"), "Progressing"),
        (tried("permanent", digest="of an older target"), ("Progressing", "Missing"), "Progressing"),
    ],
)
def test_what_was_tried_shows(attempt: Attempt, expected: tuple[str, str], state: str) -> None:
    status = say(picture(seen(A, False), seen(B), attempts={A: attempt}))
    assert (condition(status), status.state) == (expected, state)


def test_what_was_tried_does_not_show_on_what_is_as_wanted() -> None:
    assert condition(say(picture(seen(A), seen(B), attempts={A: tried("permanent")}))) == ("Ready", "AsWanted")


def test_a_provider_that_cannot_look_degrades_its_resources_only() -> None:
    status = say(picture(seen(B), blind={A: Condition("Degraded", "EngineDown", "no answer")}))
    assert (condition(status), condition(status, B)) == (("Degraded", "EngineDown"), ("Ready", "AsWanted"))


def test_a_hold_that_holds_something_back_is_the_sites_state() -> None:
    hold = Hold("h1", "testing", 0, "uid 0")
    assert say(picture(seen(A, False), seen(B), holds=(hold,))).state == "Held"
    assert say(picture(seen(A), seen(B), holds=(hold,))).state == "Converged"


def test_without_a_target_nothing_is_wanted_and_nothing_unwanted() -> None:
    status = say(picture(target=None, owned={A: Owned(file_body("a"))}))
    assert (status.state, status.resources, status.observed_digest) == ("NoTarget", (), "")


def test_the_same_again_is_no_news() -> None:
    first = say(picture(seen(A), seen(B, False)))
    assert say(picture(seen(A), seen(B, False)), first, at=999_999) is first


def test_news_keeps_the_time_of_what_did_not_change() -> None:
    first = say(picture(seen(A), seen(B, False)), at=1000)
    second = say(picture(seen(A), seen(B)), first, at=5000)
    assert second.sequence == first.sequence + 1
    assert {entry.key: entry.condition.since for entry in second.resources} == {A: 1000, B: 5000}


def test_a_status_fits_its_topic_and_keeps_what_matters() -> None:
    many = a_target(*(file_body(f"f{n:04}", f"/srv/{n}") for n in range(3000)))
    looks = [
        seen(each.key, n != 1234, *() if n != 1234 else ("x",), message="m" * 400)
        for n, each in enumerate(many.content.resources)
    ]
    status = say(picture(*looks, target=many))
    assert len(strict.encode(status)) <= report.MAX_BYTES
    assert status.counts == {"Progressing": 1, "Ready": 2999}
    assert condition(status, many.content.resources[1234].key) == ("Progressing", "Missing")
    assert list(status.resources) == sorted(status.resources, key=lambda entry: entry.key)
    assert say(picture(*looks, target=many), status) is status


def test_a_status_survives_the_wire() -> None:
    status = say(picture(seen(A), seen(B, False), holds=(Hold("h", "why", 1, "me"),), problems=("a problem",)))
    assert msgspec.json.decode(strict.encode(status), type=Status) == status
