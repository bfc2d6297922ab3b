"""Whether a machine needs a restart and may begin one, from what is remembered and what it says."""

from pathlib import Path

import pytest

from holdfast_edge.core import reboots
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.reboots import Ground, Kept, Need
from holdfast_edge.sensors import restarting
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.reboots import (
    Policy,
    Request,
    carry_policy,
    check_reboots,
    merged,
    policy_flaws,
    request_flaws,
)
from holdfast_protocol.wire.target import resource

POLICY = Policy("p", "required", minimum_uptime=3600, attempts=2)
NEED = (Need("package:libc6", "libc6 asks for it"),)


def moment(boottime: float, boot: str = "b1") -> Moment:
    return Moment(1_790_000_000.0 + boottime, boottime, boot)


def test_what_the_machine_says_becomes_needs_with_lasting_names() -> None:
    ground = Ground(required=True, packages=("libc6",), kernel="6.1.0-30-amd64", newest="6.1.0-31-amd64")
    found = reboots.needs(ground, None, {}, {}, {}, "b1")
    assert [each.cause for each in found] == ["package:libc6", "kernel:6.1.0-31-amd64"]
    assert [each.cause for each in reboots.needs(Ground(required=True), None, {}, {}, {}, "b1")] == ["required"]
    assert reboots.needs(Ground(kernel="6.1", newest="6.1"), None, {}, {}, {}, "b1") == ()


def test_a_resource_that_says_so_itself_needs_one_as_long_as_it_does() -> None:
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "KernelModule", "metadata": {"name": "can"}, "spec": {}}
    module = resource(body)
    seen = Observed(module.key, True, status={"needsBoot": "debug is N"})
    (need,) = reboots.needs(Ground(), None, {module.key: module}, {module.key: seen}, {}, "b1")
    assert (need.text, need.is_served_once) == ("KernelModule/can: debug is N", False)
    calm = Observed(module.key, True)
    assert reboots.needs(Ground(), None, {module.key: module}, {module.key: calm}, {}, "b1") == ()


def test_restarts_for_a_cause_are_forgotten_after_a_day_without_it_and_not_before() -> None:
    kept = Kept(boot_id="b2", up_from=10.0, tries={"package:libc6": 2}, said=("package:libc6",))
    assert reboots.looked(kept, (), moment(3600.0, "b2")).tries == {"package:libc6": 2}
    later = reboots.looked(kept, (), moment(10.0 + reboots.FORGETS, "b2"))
    assert (later.tries, later.said) == ({}, ())
    assert reboots.looked(kept, NEED, moment(10.0 + reboots.FORGETS, "b2")).tries == {"package:libc6": 2}


def test_a_loop_of_needs_that_come_back_after_every_boot_ends() -> None:
    kept = Kept(boot_id="b0", up_from=0.0)
    boots = 0
    for boot in range(20):
        kept = reboots.started(kept, moment(5.0, f"b{boot}"))
        if kept.going is not None:
            back = reboots.returned(kept, (), converged=True, now=moment(60.0, f"b{boot}"))
            assert back is not None
            kept = back
        now = moment(5.0 + POLICY.minimum_uptime, f"b{boot}")
        kept = reboots.looked(kept, NEED, now)
        wished = reboots.wish(kept, POLICY, NEED, now)
        if not wished.go:
            assert wished.given_up == NEED
            continue
        kept = reboots.gone(kept, wished, now)
        boots += 1
    assert boots == POLICY.attempts


def test_of_several_policies_the_one_that_restarts_less_wins_in_every_field() -> None:
    one = Policy("a", "always-after", after=("File/*",), grace=10, minimum_uptime=60, attempts=9)
    both = merged([one, Policy("b", "required", grace=300, minimum_uptime=0, attempts=2)])
    assert both == Policy("a, b", "required", (), 300, 60, 2)
    assert merged([]) is None
    assert one.covers("File/motd")  # type: ignore[arg-type]
    assert not one.covers("Filet/motd")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "when"),
        ({"when": "sometimes"}, "when"),
        ({"when": "required", "often": 1}, "often"),
        ({"when": "required", "after": ["File/*"]}, "after"),
        ({"when": "always-after", "after": ["*"]}, "after"),
        ({"when": "required", "grace": "soon"}, "grace"),
        ({"when": "required", "minimumUptime": "99d"}, "minimumUptime"),
        ({"when": "required", "attempts": True}, "attempts"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_at_its_place(spec: dict[str, object], path: str) -> None:
    assert path in [each.path[0] for each in policy_flaws(spec)]


def test_a_written_policy_is_carried_in_seconds() -> None:
    spec = {"when": "required", "grace": "2m", "minimumUptime": "0s"}
    assert list(policy_flaws(spec)) == []
    assert carry_policy("p", spec) == Policy("p", "required", (), 120, 0, 3)


def test_requests_without_a_reason_or_an_end_are_refused() -> None:
    assert [each.path[0] for each in request_flaws({"reason": " ", "until": 0})] == ["reason", "until", "seconds"]
    with pytest.raises(WireError):
        check_reboots((), (Request("r", "x", 1, 0),))
    with pytest.raises(WireError):
        check_reboots((Policy("p", "required", attempts=0),), ())


def test_the_ground_is_read_from_the_machine_and_hostile_content_is_left_out(tmp_path: Path) -> None:
    mark, boot = tmp_path / "reboot-required", tmp_path / "boot"
    boot.mkdir()
    for release in ("6.1.0-9-amd64", "6.1.0-30-amd64", "6.1.0-31-cloud-amd64", "6.9.0-1-arm64"):
        (boot / f"vmlinuz-{release}").touch()
    assert restarting.ground(mark, boot, "6.1.0-9-amd64") == Ground(False, (), "6.1.0-9-amd64", "6.1.0-30-amd64")
    assert restarting.ground(mark, boot, "5.0-other").newest == ""
    mark.touch()
    (tmp_path / "reboot-required.pkgs").write_bytes(b"libc6\nlibc6\n$(reboot)\n\xff\xfe\nlinux-image-6.1\n")
    assert restarting.ground(mark, tmp_path / "none", "x").packages == ("libc6", "linux-image-6.1")


def test_the_notice_is_whole_or_not_there_and_never_fatal(tmp_path: Path) -> None:
    path = tmp_path / "run" / "reboot"
    restarting.announce(path, {"at": 1})
    assert path.read_text() == '{"at":1}\n'
    restarting.announce(path, None)
    restarting.announce(path, None)
    assert list(path.parent.iterdir()) == []
    restarting.announce(Path("/proc/nowhere/reboot"), {"at": 1})


def test_a_request_made_here_is_due_again_when_the_agent_was_ended_before_it_could_ask() -> None:
    made = reboots.Request("local-1", "fan", "uid 0", int((1_790_000_000.0 + 9000) * 1000), 9000.0, 10.0, "b1")
    kept = reboots.started(Kept(requests=(made,)), moment(10.0))
    wished = reboots.wish(kept, None, (), moment(20.0))
    kept = reboots.followed(reboots.gone(kept, wished, moment(20.0)), (), moment(21.0))
    assert reboots.standing(kept, moment(21.0)) == ()
    again = reboots.started(kept, moment(30.0))
    assert [each.id for each in reboots.standing(again, moment(30.0))] == ["local-1"]
    after = reboots.started(kept, moment(5.0, "b2"))
    assert reboots.standing(after, moment(5.0, "b2")) == ()


def test_a_machine_that_is_switched_off_every_night_is_restarted_for_the_same_package_every_time() -> None:
    """It is never up for a day, and no restart of it has failed to help."""
    boots = 0
    kept = Kept(boot_id="b0", up_from=0.0)
    for _ in range(2 * POLICY.attempts):
        now = moment(5.0 + POLICY.minimum_uptime, f"b{boots}")
        kept = reboots.looked(kept, NEED, now)
        wished = reboots.wish(kept, POLICY, NEED, now)
        assert wished.go, wished.waits
        kept = reboots.gone(kept, wished, now)
        boots += 1
        kept = reboots.started(kept, moment(5.0, f"b{boots}"))
        back = reboots.returned(kept, (), converged=True, now=moment(60.0, f"b{boots}"))
        assert back is not None
        kept = reboots.looked(back, (), moment(60.0, f"b{boots}"))
        assert kept.tries, "a boot of ours forgets nothing"
        boots += 1
        kept = reboots.started(kept, moment(5.0, f"b{boots}"))
        kept = reboots.looked(kept, (), moment(60.0, f"b{boots}"))


@pytest.mark.parametrize("ended", ["the agent", "the request to systemd"])
def test_a_change_whose_boot_did_not_come_waits_for_it_still_and_not_for_ever(ended: str) -> None:
    changed = (Need("changed:File/a@1", "File/a was changed"),)
    kept = reboots.looked(Kept(boot_id="b1"), changed, moment(5.0))
    asked, at = 0, 0.0
    while True:
        at += 5.0 + POLICY.minimum_uptime
        wished = reboots.wish(kept, POLICY, changed, moment(at))
        if not wished.go:
            break
        kept, asked = reboots.gone(kept, wished, moment(at)), asked + 1
        kept = (
            reboots.started(kept, moment(at)) if ended == "the agent" else reboots.failed(kept, "BusDown", moment(at))
        )
    assert (asked, wished.given_up) == (POLICY.attempts, changed)
    again = reboots.started(kept, moment(5.0, "b2"))
    assert not reboots.wish(again, POLICY, changed, moment(at, "b2")).go, "somebody's boot has served it"
    assert not reboots.wish(again, POLICY, changed, moment(at, "b2")).given_up


def test_what_is_remembered_of_changes_has_an_end_on_a_machine_that_is_never_up_for_a_day() -> None:
    kept = Kept(boot_id="b0")
    for boot in range(reboots.MAX_TRIES + 5):
        changed = (Need(f"changed:File/a@{boot}", "File/a was changed"),)
        now = moment(5.0 + POLICY.minimum_uptime, f"b{boot}")
        kept = reboots.looked(kept, changed, now)
        kept = reboots.gone(kept, reboots.wish(kept, POLICY, changed, now), now)
        kept = reboots.started(kept, moment(5.0, f"b{boot + 1}"))
        back = reboots.returned(kept, (), converged=True, now=moment(60.0, f"b{boot + 1}"))
        assert back is not None
        kept = back
    assert len(kept.tries) == reboots.MAX_TRIES
    assert "changed:File/a@0" not in kept.tries
