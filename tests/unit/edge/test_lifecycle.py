"""The ladder: every rung once, in order."""

from typing import Any

import pytest

from holdfast_edge.core.lifecycle import QUIET, Life, advance, again_at, resumed
from holdfast_protocol.wire.messages import Cause, Condition, Progress, ResourceStatus, Status
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName

BAD = ResourceStatus("File/a", Condition("Failed", "Denied", "not allowed"))
CAUSE = Cause("apply", "File/a", "Denied", "not allowed", "allow it")
SECOND = Cause("apply", "File/b", "DiskFull", "no room")


def status(state: Any, phase: str = "applying", generation: int = 1, digest: str = "d1", **counts: int) -> Status:
    back = phase in ("rolled-back", "stuck", "rejected")
    return Status(
        fleet=FleetName("acme"),
        site=SiteName("press-01"),
        node=NodeName("node-1"),
        boot_id="boot",
        sequence=1,
        at=0,
        state=state,
        epoch=1,
        generation=generation,
        digest=digest,
        observed_digest=digest if state == "Converged" else "other",
        resources=(BAD,) if state == "Degraded" else (),
        counts=counts,
        progress=Progress(
            phase, cause=CAUSE if back else None, second=SECOND if phase == "stuck" else None, next="wait"
        ),
    )


def climb(*looks: tuple[float, Status], life: Life | None = None) -> tuple[Life, list[str]]:
    life = life or Life()
    said = []
    for now, each in looks:
        life, reports = advance(life, each, now=now)
        said += [f"{report.level} {report.outcome}" for report in reports]
    return life, said


UP = ["A1 received", "A2 accepted", "A3 converged", "A4 stable"]


def test_a_good_target_climbs_the_whole_ladder_once() -> None:
    life, said = climb(
        (0, status("Progressing", "preparing")),
        (1, status("Progressing")),
        (2, status("Converged", "verifying")),
        (62, status("Converged", "stable")),
        (9999, status("Converged", "stable")),
    )
    assert said == UP
    assert life.stable


def test_a_target_is_accepted_when_all_of_it_is_prepared_and_not_before() -> None:
    assert climb((0, status("Progressing", "preparing")), (900, status("Progressing", "preparing")))[1] == UP[:1]


def test_without_a_target_there_is_nothing_to_say() -> None:
    assert climb((0, status("NoTarget", generation=0, digest="")))[1] == []


def test_degraded_is_said_with_the_culprit_when_nothing_more_is_under_way() -> None:
    working = climb((0, status("Degraded", Failed=1, Progressing=2)))
    assert working[1] == UP[:2]
    _, reports = advance(working[0], status("Degraded", Failed=1, Waiting=1), now=1)
    assert [(report.outcome, report.reason, report.message, report.resource) for report in reports] == [
        ("degraded", "Denied", "File/a: not allowed", "File/a")
    ]


@pytest.mark.parametrize(
    ("phase", "rungs", "message"),
    [
        ("rejected", ["A1 received", "A2 rejected"], "File/a: not allowed"),
        ("rolled-back", ["A1 received", "A2 accepted", "A3 rolled-back"], "File/a: not allowed"),
        (
            "stuck",
            ["A1 received", "A2 accepted", "A3 rolled-back"],
            "File/a: not allowed; going back: File/b: DiskFull: no room",
        ),
    ],
)
def test_what_did_not_get_through_is_said_with_phase_resource_cause_and_next_action(
    phase: str, rungs: list[str], message: str
) -> None:
    life, reports = advance(Life(), status("Degraded", phase), now=0)
    last = reports[-1]
    assert [f"{report.level} {report.outcome}" for report in reports] == rungs
    assert (last.phase, last.resource, last.reason, last.message, last.hint) == (
        "apply",
        "File/a",
        "Denied",
        message,
        "allow it",
    )
    assert advance(life, status("Degraded", phase), now=1e6)[1] == ()


def test_going_back_is_said_at_once_however_lately_something_else_was() -> None:
    life, _ = climb((0, status("Converged", "verifying")), (1, status("Degraded", "rolling-back")))
    assert climb((2, status("Degraded", "rolled-back")), life=life)[1] == ["A3 rolled-back"]


def test_what_cannot_be_done_here_keeps_a_stable_target_from_a4() -> None:
    assert climb((0, status("Degraded")), (60, status("Degraded", "stable")))[1] == [*UP[:2], "A3 degraded"]


def test_a_flapping_site_reports_once_a_minute_and_ends_with_the_truth() -> None:
    looks = [(float(n), status("Degraded" if n % 2 else "Converged", "degraded")) for n in range(200)]
    life, said = climb(*looks)
    assert len(said) <= 3 + 200 / QUIET
    at = again_at(life)
    if at is not None:
        life, _ = climb((at, looks[-1][1]), life=life)
    assert (life.said, again_at(life)) == ("degraded", None)


def test_a_newer_target_starts_at_the_bottom() -> None:
    life, _ = climb((0, status("Converged", "stable")))
    life, said = climb((61, status("Converged", "verifying", generation=2, digest="d2")), life=life)
    assert said == UP[:3]
    assert not life.stable


def test_a_restart_says_nothing_again() -> None:
    life, _ = climb((1000, status("Converged", "verifying")))
    life, said = climb((5, status("Converged", "verifying")), life=resumed(life))
    assert said == []
    assert climb((65, status("Converged", "stable")), life=life)[1] == ["A4 stable"]
