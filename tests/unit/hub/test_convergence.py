"""Judging sites: what is wanted against what was said."""

from typing import Any

import pytest

from holdfast_hub.core.convergence import (
    SILENCE,
    Desired,
    Reported,
    instance_judgement,
    is_ahead,
    site_judgement,
)
from holdfast_protocol.wire.messages import REFUSED, Cause, Condition, ConditionType, Progress, ResourceStatus, Status
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName

NOW = 1_790_000_000_000
WANTED = Desired(1, 7, "d7")


def resource(key: str, kind: ConditionType = "Ready", instance: str = "A/a") -> ResourceStatus:
    return ResourceStatus(key, Condition(kind, "Reason", "message"), instance=instance)


def said(digest: str = "d7", state: Any = "Converged", *resources: ResourceStatus, **fields: Any) -> Status:
    values: dict[str, Any] = {"observed_digest": digest if state == "Converged" else "", **fields}
    return Status(
        FleetName("f"), SiteName("s"), NodeName("n"), "b", 1, NOW, state, 1, 7, digest, resources=resources, **values
    )


def node(status: Status | None = None, **fields: Any) -> Reported:
    values: dict[str, Any] = {"online": True, "seen_at": NOW, "epoch": 1, "generation": 7, "digest": "d7", **fields}
    return Reported(status=status, **values)


@pytest.mark.parametrize(
    ("desired", "nodes", "state"),
    [
        (Desired(1, 7, "d7", conflict=True), [node(said())], "Conflict"),
        (WANTED, [], "NeverSeen"),
        (WANTED, [node(online=False, seen_at=0)], "NeverSeen"),
        (WANTED, [node(said(), online=False)], "Offline"),
        (WANTED, [node(said(), seen_at=NOW - SILENCE - 1)], "Offline"),
        (Desired(), [node(generation=0, digest="")], "NoTarget"),
        (Desired(), [node()], "Pending"),
        (WANTED, [node(said("d6"), generation=6, digest="d6")], "Pending"),
        (WANTED, [node(said("d6", problems=("x", f"{REFUSED}BadSignature")), generation=6, digest="d6")], "Failed"),
        (WANTED, [node(said("d6", problems=("a beacon is stale",)), generation=6, digest="d6")], "Pending"),
        (WANTED, [node()], "Applying"),
        (WANTED, [node(said("d6"))], "Applying"),
        (WANTED, [node(said("d7", "Progressing"))], "Applying"),
        (WANTED, [node(said("d7", "Held"))], "Applying"),
        (WANTED, [node(said("d7", "Converged", observed_digest="d6"))], "Applying"),
        (WANTED, [node(said("d7", "Degraded"))], "Degraded"),
        (WANTED, [node(said("d7", "Degraded", resource("File/a", "Degraded")))], "Degraded"),
        (WANTED, [node(said("d7", "Degraded", resource("File/a", "Unsupported")))], "Degraded"),
        (WANTED, [node(said("d7", "Degraded", resource("File/a", "Failed")))], "Failed"),
        (WANTED, [node(said())], "Converged"),
        (WANTED, [node(said()), node(said("d6"), generation=6, digest="d6")], "Pending"),
        (WANTED, [node(said()), node(online=False, seen_at=0)], "Converged"),
    ],
)
def test_a_site_is_as_far_as_its_worst_node(desired: Desired, nodes: list[Reported], state: str) -> None:
    assert site_judgement(desired, nodes, NOW).state == state


def test_an_offline_site_says_what_was_known_last() -> None:
    assert site_judgement(WANTED, [node(said(), online=False)], NOW).message == "last state: Converged"


def test_a_failure_names_its_resource_and_reason() -> None:
    judged = site_judgement(WANTED, [node(said("d7", "Degraded", resource("File/a", "Failed")))], NOW)
    assert judged.message == "File/a: Reason: message"


@pytest.mark.parametrize(
    ("resources", "state"),
    [
        ([resource("File/a"), resource("File/b", "Failed", "B/b")], "Converged"),
        ([resource("File/a", "Failed"), resource("File/b", instance="B/b")], "Failed"),
        ([resource("File/a", "Unsupported")], "Degraded"),
        ([resource("File/a", "Waiting")], "Applying"),
        ([resource("File/a"), resource("File/old", "Removing")], "Applying"),
        ([resource("File/b", instance="B/b")], "Applying"),
    ],
)
def test_an_instance_is_not_blamed_for_another_one(resources: list[ResourceStatus], state: str) -> None:
    nodes = [node(said("d7", "Degraded", *resources))]
    assert instance_judgement(WANTED, nodes, "A/a", frozenset({"File/a"}), NOW).state == state


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ("rolled-back", "rolled back, kept at generation 6: readiness Pod/p: CrashLoop: not ready"),
        ("rejected", "rejected, kept at generation 6: readiness Pod/p: CrashLoop: not ready"),
        ("rolling-back", "going back, kept at generation 6: readiness Pod/p: CrashLoop: not ready"),
        (
            "stuck",
            "going back does not work, kept at generation 6: readiness Pod/p: CrashLoop: not ready;"
            " apply File/a: DiskFull: no room",
        ),
    ],
)
def test_a_site_that_went_back_has_failed_whatever_it_is_kept_at_and_says_why(phase: str, message: str) -> None:
    progress = Progress(
        phase,
        held=6,
        cause=Cause("readiness", "Pod/p", "CrashLoop", "not ready"),
        second=Cause("apply", "File/a", "DiskFull", "no room"),
    )
    nodes = [node(said("d7", "Degraded", resource("File/a"), resource("Pod/p", "Failed", "B/b"), progress=progress))]
    judged = site_judgement(WANTED, nodes, NOW)
    assert (judged.state, judged.message) == ("Failed", message)
    assert instance_judgement(WANTED, nodes, "A/a", frozenset({"File/a"}), NOW).state == "Converged"
    assert instance_judgement(WANTED, nodes, "B/b", frozenset({"Pod/p"}), NOW).state == "Failed"


@pytest.mark.parametrize("phase", ["preparing", "applying", "stable", "of a later version"])
def test_any_other_phase_is_judged_by_its_resources(phase: str) -> None:
    assert site_judgement(WANTED, [node(said(progress=Progress(phase, held=7)))], NOW).state == "Converged"


def test_an_instance_is_offline_with_its_site() -> None:
    assert instance_judgement(WANTED, [node(said(), online=False)], "A/a", frozenset(), NOW).state == "Offline"


@pytest.mark.parametrize(
    ("held", "digest", "ahead"),
    [
        ((1, 6), "d6", False),
        ((1, 7), "d7", False),
        ((1, 7), "other", True),
        ((1, 8), "d8", True),
        ((2, 1), "d1", True),
        ((0, 0), "", False),
    ],
)
@pytest.mark.invariant("target-never-goes-back")
def test_a_site_is_ahead_when_it_holds_what_we_never_told_it(held: tuple[int, int], digest: str, ahead: bool) -> None:
    assert is_ahead(WANTED, 7, held, digest) is ahead


def test_a_site_added_again_may_hold_what_it_was_told_before() -> None:
    assert not is_ahead(Desired(), 7, (1, 7), "d7")
    assert is_ahead(Desired(), 7, (1, 8), "d8")
