"""The ladder: every rung once, in order."""

from typing import Any

from holdfast_edge.core.lifecycle import QUIET, Life, advance, again_at, resumed
from holdfast_protocol.wire.messages import Condition, ResourceStatus, Status
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName

SOAK = 60.0
BAD = ResourceStatus("File/a", Condition("Failed", "Denied", "not allowed"))


def status(state: Any, generation: int = 1, digest: str = "d1", **counts: int) -> Status:
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
    )


def climb(*looks: tuple[float, Status], life: Life | None = None) -> tuple[Life, list[str]]:
    life = life or Life()
    said = []
    for now, each in looks:
        life, reports = advance(life, each, now=now, soak=SOAK)
        said += [f"{report.level} {report.outcome}" for report in reports]
    return life, said


UP = ["A1 received", "A2 accepted", "A3 converged", "A4 stable"]


def test_a_good_target_climbs_the_whole_ladder_once() -> None:
    life, said = climb(
        (0, status("Progressing")),
        (1, status("Converged")),
        (60, status("Converged")),
        (61, status("Converged")),
        (9999, status("Converged")),
    )
    assert said == UP
    assert life.stable


def test_without_a_target_there_is_nothing_to_say() -> None:
    assert climb((0, status("NoTarget", generation=0, digest="")))[1] == []


def test_trouble_during_the_soak_starts_it_again() -> None:
    life, said = climb((0, status("Converged")), (50, status("Progressing")), (55, status("Converged")))
    assert again_at(life, SOAK) == 115
    assert climb((114, status("Converged")), life=life)[1] == []
    assert said + climb((115, status("Converged")), life=life)[1] == UP


def test_degraded_is_said_with_the_culprit_when_nothing_more_is_under_way() -> None:
    working = climb((0, status("Degraded", Failed=1, Progressing=2)))
    assert working[1] == UP[:2]
    _, reports = advance(working[0], status("Degraded", Failed=1, Waiting=1), now=1, soak=SOAK)
    assert [(report.outcome, report.reason, report.message) for report in reports] == [
        ("degraded", "Denied", "File/a: not allowed")
    ]


def test_a_flapping_site_reports_once_a_minute_and_ends_with_the_truth() -> None:
    looks = [(float(n), status("Degraded" if n % 2 else "Converged")) for n in range(200)]
    life, said = climb(*looks)
    assert len(said) <= 3 + 200 / QUIET
    assert life.phase == "degraded"
    at = again_at(life, SOAK)
    if at is not None:
        life, _ = climb((at, looks[-1][1]), life=life)
    assert life.said == "degraded"


def test_a_newer_target_starts_at_the_bottom() -> None:
    life, _ = climb((0, status("Converged")), (60, status("Converged")))
    life, said = climb((61, status("Converged", generation=2, digest="d2")), life=life)
    assert said == UP[:3]
    assert not life.stable


def test_a_restart_says_nothing_again_and_soaks_anew() -> None:
    life, _ = climb((1000, status("Converged")), (1030, status("Converged")))
    life, said = climb((5, status("Converged")), (64, status("Converged")), life=resumed(life))
    assert said == []
    assert climb((65, status("Converged")), life=life)[1] == ["A4 stable"]


def test_a_stable_target_that_drifts_and_is_repaired_is_stable_still() -> None:
    life, _ = climb((0, status("Converged")), (60, status("Converged")))
    life, said = climb((61, status("Progressing")), (62, status("Converged")), life=life)
    assert (life.phase, said) == ("stable", [])
