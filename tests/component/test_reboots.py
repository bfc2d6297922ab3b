"""Restarts of the machine over real stores: needed, announced, begun when nothing speaks against it, told afterwards."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.core.reboots import BEGINS, Ground
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.reboots import KEY, Policy
from holdfast_protocol.wire.target import HubHold
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.reboots import AT_ONCE, NIGHTS, NOON, REQUIRED, Machine, Site, needed, wanted

pytestmark = pytest.mark.anyio


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def it(tmp_path: Path, machine: Machine) -> Iterator[Site]:
    site = Site(tmp_path, machine)
    yield site
    site.close()


async def test_a_needed_restart_is_announced_made_once_and_told_afterwards(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        await it.stays(1.2)
        needed(machine, "libc6", "linux-image")
        await it.until(lambda: it.said.announced, "the announcement", step=1.0)
        assert it.said.needed == ("libc6 asks for it", "linux-image asks for it")
        assert machine.restarts == 0
        (row,) = it.plan()
        assert (row["key"], row["when"]) == (KEY, "now")
        assert row["why"].startswith("announced for 2026-06-01T")
        await it.restarted()
        assert machine.flushed == [0]
        await it.stays(0.05)
    assert it.told()[-2:] == ["RebootAnnounced", "RebootBegun"]
    it.close()
    machine.boot()
    after = Site(tmp_path, machine)
    async with Running(*after.loops()):
        await after.until(lambda: after.said.last, "the outcome")
        last = after.said.last
        assert last is not None
        assert (last.outcome, last.causes) == ("done", ("libc6 asks for it", "linux-image asks for it"))
        assert 0 < last.back_at - last.at < 400_000
        assert after.told() == ["Rebooted"]
        await after.stays()
        assert not after.plan()
    after.close()


async def test_a_need_that_restarts_do_not_help_is_given_up_and_shown(tmp_path: Path, machine: Machine) -> None:
    needed(machine, "linux-image")
    for count in (1, 2):
        site = Site(tmp_path, machine)
        async with Running(*site.loops()):
            if count == 1:
                await site.give(wanted(REQUIRED))
            await site.settled()
            await site.restarted(count)
        assert site.clock.boottime() >= REQUIRED.minimum_uptime or count == 1
        site.close()
        machine.boot(helps=False)
    site = Site(tmp_path, machine)
    async with Running(*site.loops()):
        await site.until(lambda: site.said.given_up, "giving up")
        assert site.said.last is not None
        assert site.said.last.outcome == "still-needed"
        status = site.site.board.status
        assert status is not None
        assert any("restarts did not help: linux-image" in each for each in status.problems)
        await eventually(lambda: "RebootGivenUp" in site.told("Alarm"), "the alarm")
        await site.stays(30)
        assert site.told("Alarm").count("RebootGivenUp") == 1
        await site.site.rebooter.ask(reason="try", seconds=3600, by="uid 0", now=site.site.moment())  # type: ignore[union-attr]
        await site.restarted(3)
    site.close()


async def test_a_machine_that_has_just_started_waits_for_its_uptime(tmp_path: Path, machine: Machine) -> None:
    needed(machine)
    machine.boot(helps=False)
    site = Site(tmp_path, machine)
    async with Running(*site.loops()):
        await site.give(wanted(REQUIRED))
        await site.settled()
        await site.stays(0.7)
        assert "has to be up for 3600 s" in site.said.waits
        assert site.said.next
        await site.restarted()
        assert site.clock.boottime() >= 3600
    site.close()


async def test_without_a_policy_the_need_is_only_shown(it: Site, machine: Machine) -> None:
    needed(machine)
    async with Running(*it.loops()):
        await it.give(wanted())
        await it.settled()
        await it.stays()
        assert it.said.needed == ("/run/reboot-required is there",)
        assert "no RebootPolicy" in it.said.waits
        await it.give(wanted(Policy("off", "never"), REQUIRED, generation=2))
        await it.until(lambda: "says never" in it.said.waits, "never to win")
        await it.stays()


async def test_a_closed_window_keeps_it_back_and_says_when_the_next_chance_is(it: Site, machine: Machine) -> None:
    needed(machine)
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED, windows={"nights": NIGHTS}))
        await it.settled()
        await it.stays(10)
        assert "window nights opens 2026-06-02 02:00 UTC" in it.said.waits
        assert it.said.next == int(datetime(2026, 6, 2, 2, tzinfo=UTC).timestamp() * 1000)
        (row,) = it.plan()
        assert (row["when"], "next chance 2026-06-02T02:00:00Z" in row["why"]) == ("waiting", True)
        await it.until(lambda: machine.restarts, "the restart", step=120.0)
        assert 2 <= datetime.fromtimestamp(it.clock.wall(), UTC).hour < 4


async def test_a_wrong_clock_opens_no_window(tmp_path: Path, machine: Machine) -> None:
    needed(machine)
    site = Site(tmp_path, machine, quality=lambda: "floor")
    async with Running(*site.loops()):
        await site.give(wanted(REQUIRED, windows={"nights": NIGHTS}))
        await site.until(lambda: "clock is wrong" in site.said.waits, "it to wait")
        await site.stays(30)
    site.close()


async def test_any_hold_keeps_it_back_also_after_the_announcement(it: Site, machine: Machine) -> None:
    hold = HubHold("h1", "commissioning", int((NOON + 20 * 3600) * 1000), 20 * 3600, "ann", ("File/other",))
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        await it.stays(1.2)
        needed(machine)
        await it.until(lambda: it.said.announced, "the announcement", step=5.0)
        await it.give(wanted(REQUIRED, generation=2, holds=(hold,)))
        await it.until(lambda: "commissioning" in it.said.waits, "the hold", step=1.0)
        await it.stays()
        assert machine.notices[-1] is None
        assert "RebootCalledOff" in it.told()


async def test_not_now_is_heard_for_its_time(it: Site, machine: Machine, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.write_text("printing 40 more\n")
    ask = {"holdfast.io/not-now": f"file:{busy}", "holdfast.io/not-now-at-most": "30m"}
    needed(machine)
    async with Running(*it.loops()):
        busy.unlink()
        await it.give(wanted(annotations=ask))
        await it.settled()
        busy.write_text("printing 40 more\n")
        await it.give(wanted(AT_ONCE, annotations=ask, generation=2))
        await it.until(lambda: "printing 40 more" in it.said.waits, "its answer", step=1.0)
        await it.stays(0.3)
        await it.until(lambda: machine.restarts, "its limit to end", step=3.0, turns=2000)
        assert busy.exists()


async def test_a_target_half_applied_is_never_cut(tmp_path: Path, machine: Machine) -> None:
    provider = FakeProvider("File")
    site = Site(tmp_path, machine, provider=provider)
    needed(machine)
    async with Running(*site.loops()):
        await site.give(wanted(AT_ONCE))
        await site.until(lambda: "generation 1 is" in site.said.waits, "it to wait for the target", step=0.5)
        assert machine.restarts == 0
        await site.settled()
        await site.restarted()
    site.close()


@pytest.mark.invariant("intent-before-effect")
async def test_a_power_cut_between_the_intent_and_the_restart_is_the_restart(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    needed(machine, "libc6")
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        machine.trouble = None
        await it.restarted()  # systemd was asked, and the power goes before it does anything
    it.close()
    machine.boot()
    after = Site(tmp_path, machine)
    async with Running(*after.loops()):
        await after.until(lambda: after.said.last and after.said.last.outcome == "done", "the outcome")
        await after.stays()
    after.close()


async def test_an_agent_killed_between_the_intent_and_the_restart_tries_again_but_counts(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    needed(machine, "libc6")
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        await it.restarted()
    it.close()
    for _ in range(1):
        again = Site(tmp_path, machine)  # the same boot
        async with Running(*again.loops()):
            await again.restarted(2)
        again.close()
    third = Site(tmp_path, machine)
    async with Running(*third.loops()):
        await third.until(lambda: third.said.given_up, "giving up")
        await third.stays()
    third.close()


async def test_a_restart_that_does_not_begin_is_an_alarm_and_tried_again_much_later(it: Site, machine: Machine) -> None:
    needed(machine)
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        await it.restarted()
        going = it.site.rebooter._store.kept.going if it.site.rebooter is not None else None
        assert going is not None
        began = going.began
        await it.until(lambda: "RebootFailed" in it.told("Alarm"), "the alarm")
        assert it.clock.boottime() - began >= BEGINS
        machine.trouble = TransientError("no bus", reason="BusDown")
        await it.until(lambda: it.told("Alarm").count("RebootFailed") == 2, "the next one", step=60.0)
        assert it.clock.boottime() - began >= REQUIRED.minimum_uptime
        last = it.said.last
        assert last is not None
        assert (last.outcome, last.message) == ("failed", "BusDown: no bus")


@pytest.mark.parametrize(
    ("policy", "annotations"),
    [
        (Policy("after", "always-after", after=("File/*",), grace=0, minimum_uptime=0), None),
        (Policy("req", "required", grace=0, minimum_uptime=0), {"holdfast.io/needs-boot": "true"}),
    ],
    ids=["by policy", "by annotation"],
)
async def test_a_change_that_needs_a_boot_gets_exactly_one(
    it: Site, machine: Machine, tmp_path: Path, policy: Policy, annotations: Any
) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(policy, annotations=annotations))
        await it.restarted()
    provider, _ = it.provider, it.close()
    machine.boot()
    after = Site(tmp_path, machine, provider=provider)
    async with Running(*after.loops()):
        await after.until(lambda: after.said.last and after.said.last.outcome == "done", "the outcome")
        provider.world["File/a"] = {**provider.world["File/a"], "spec": {"content": "drifted"}}
        await after.stays(1)  # a repair of the same is no new change
        await after.give(wanted(policy, annotations=annotations, content="y", generation=2))
        await after.restarted(2)
    after.close()


async def test_a_notice_of_an_agent_that_was_ended_is_taken_away_by_the_next(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    needed(machine, "libc6")
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
        await it.until(lambda: machine.notices and machine.notices[-1], "the announcement")
    it.close()
    machine.ground = Ground()  # and what asked for it has gone
    after = Site(tmp_path, machine)
    async with Running(*after.loops()):
        await after.until(lambda: machine.notices[-1] is None, "the notice to be gone")
        assert after.told().count("RebootCalledOff") == 0, "nothing was called off that this one announced"
    after.close()
