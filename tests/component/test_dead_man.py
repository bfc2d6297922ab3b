"""Risky changes on trial, over real stores: kept when the hub answers, gone back from when it does not, killed in between."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_edge.core.trial import Trial
from holdfast_edge.store.trials import Refused, Trials, read
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Target
from support.builders import a_target
from support.clock import FakeClock, Running, eventually
from support.dead_man import Site, World, firewall, kept, said, stands, wall
from support.provider import FakeProvider

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("agent-is-never-its-own-casualty")]


@pytest.fixture
def world() -> World:
    return World(FakeClock())


@pytest.fixture
def it(tmp_path: Path, world: World) -> Iterator[Site]:
    world.contact.heard(world.clock.boottime())
    site = Site(tmp_path, world, FakeProvider("Firewall", "File"))
    yield site
    site.close()


async def test_a_change_that_keeps_the_hub_stays(it: Site) -> None:
    async with Running(*it.loops()):
        await it.give(wall("one", 1))
        await it.until(lambda: stands(it) == "one", "it")
        assert it.world.armed
        await it.until(lambda: not it.dead_man.on_trial, "the trial to end")
        assert not it.world.armed
        await it.until(lambda: said(it) == ("Ready", "AsWanted"), "it to be ready")
        assert read(it.database.path.parent).trial is None


async def test_a_change_on_trial_is_not_ready_and_becomes_no_last_good(it: Site) -> None:
    it.world.answers = False
    async with Running(*it.loops()):
        await it.give(wall("one", 1))
        await it.until(lambda: said(it)[1] == "OnTrial", "it")
        it.clock.advance(59)
        await it.never(lambda: it.site.targets.last_good)


@pytest.mark.parametrize("silent", ["reaches", "answers"])
async def test_a_change_that_cuts_the_hub_is_gone_back_from_and_the_target_with_it(it: Site, silent: str) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        setattr(it.world, silent, False)
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two", "it")
        await it.until(lambda: stands(it) == "one", "the old rules")
        await it.until(lambda: it.site.goes_back and not it.dead_man.on_trial, "the way back")
        await it.until(lambda: said(it) == ("Failed", "RevertedByDeadMan"), "it")
        await it.until(lambda: "RevertedByDeadMan" in it.alarms(), "it")
        await it.until(lambda: "A3 rolled-back" in it.outbox.said(), "the report")
        done = it.provider.changes()
        it.clock.advance(4000)
        await it.never(lambda: it.provider.changes() != done)
        assert it.provider.changes() == done
        assert it.site.transactions.bad[0].digest == wall("two", 2).digest


async def test_what_was_not_there_before_goes_again_and_is_not_tried_again_by_itself(it: Site) -> None:
    it.world.reaches = False
    async with Running(*it.loops()):
        await it.give(wall("one", 1))
        await it.until(lambda: stands(it) == "one", "it")
        await it.until(lambda: not stands(it), "nothing to stand")
        await it.until(lambda: said(it) == ("Failed", "RevertedByDeadMan"), "it")
        assert "Firewall/edge" not in it.site.owned.things
        done = it.provider.changes()
        it.clock.advance(4000)
        await it.never(lambda: it.provider.changes() != done)
        it.world.reaches = True
        it.site.retry()
        await it.until(lambda: stands(it) == "one", "it")
        await it.until(lambda: not it.dead_man.on_trial, "the trial to end")
        assert stands(it) == "one"


async def test_a_removal_that_cuts_the_hub_is_undone(it: Site) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.reaches = False
        await it.give(a_target(generation=2))
        await it.until(lambda: not stands(it), "it")
        await it.until(lambda: stands(it) == "one", "the rules to be back")
        digest = wall("one", 1).content.resources[0].digest
        await it.until(
            lambda: (
                [each.digest for each in it.site.owned.things.values() if each.body["kind"] == "Firewall"] == [digest]
            ),
            "it to be ours",
        )


async def test_without_a_hub_the_local_check_decides(it: Site) -> None:
    it.world.contact.lost()
    it.world.reaches = False
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two", "it")
        it.world.ground = ("address",)
        await it.until(lambda: stands(it) == "one", "the old rules")
        await it.until(lambda: said(it)[1] == "RevertedByDeadMan", "it")


@pytest.mark.parametrize("boot", ["boot", "another"])
async def test_a_kill_or_a_reboot_while_it_is_tried_goes_back_first_of_all(it: Site, tmp_path: Path, boot: str) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.answers = False
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two" and it.dead_man.on_trial, "it")
    it.close()
    again = Site(tmp_path, it.world, it.provider, boot)
    it.world.answers = True
    async with Running(*again.loops()):
        await again.until(lambda: stands(it) == "one", "it")
        await again.until(lambda: said(again) == ("Failed", "RevertedByDeadMan"), "it")
        await again.never(lambda: stands(it) != "one")
    again.close()


async def test_nothing_is_changed_when_nobody_would_go_back(it: Site) -> None:
    it.world.refuses = TransientError("no timer", reason="NoGuard")
    async with Running(*it.loops()):
        await it.give(wall("one", 1, a="1"))
        await it.until(lambda: said(it)[1] == "NoGuard", "it")
        assert it.provider.changes() == [("apply", "File/a")]


async def test_a_change_that_had_no_guard_leaves_no_trial_and_no_word_of_it(it: Site, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.refuses = TransientError("no timer", reason="NoGuard")
        await it.give(wall("two", 2))
        await it.until(lambda: said(it)[1] == "NoGuard", "it")
        await it.until(lambda: not it.dead_man.on_trial and read(tmp_path).trial is None, "no trial between two tries")
        newer = wall("one", 3, a="1")
        await it.give(newer)
        await it.until(lambda: it.site.targets.last_good == newer.digest, "a target without it to become last-good")
    it.close()
    again = Site(tmp_path, it.world, it.provider)
    async with Running(*again.loops()):
        await again.until(lambda: again.site.board.status is not None, "a look")
        await again.never(again.alarms)
    again.close()


async def test_a_newer_target_while_the_guard_is_called_leaves_no_trial(it: Site, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.gate = anyio.Event()
        await it.give(wall("two", 2))
        await eventually(lambda: it.dead_man.on_trial, "the change to be put on trial")
        newer = wall("one", 3, a="1")
        await it.give(newer)
        await it.until(lambda: it.site.targets.last_good == newer.digest, "a target without it to become last-good")
        assert read(tmp_path).trial is None


async def test_a_change_that_had_no_guard_leaves_the_trial_of_the_others(it: Site) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.answers = False
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two", "it")
        it.world.refuses = TransientError("no timer", reason="NoGuard")
        await it.give(wall("three", 3))
        await it.until(lambda: stands(it) == "one", "the rules from before the trial")


async def test_a_repair_is_no_trial(it: Site) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.answers = False
        del it.provider.world["Firewall/edge"]
        it.provider.tell()
        await it.until(lambda: stands(it) == "one", "it")
        assert not it.dead_man.on_trial


async def test_going_back_to_what_was_before_ends_a_trial_by_itself(it: Site) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.answers = False
        await it.give(wall("two", 2))
        await it.until(lambda: it.dead_man.on_trial, "it")
        await it.give(wall("one", 3))
        await it.until(lambda: stands(it) == "one", "it")
        await it.until(lambda: not it.dead_man.on_trial, "the trial to end", turns=40)
        await it.until(lambda: said(it) == ("Ready", "AsWanted"), "it to be ready")
        assert not it.alarms()


async def test_the_agent_is_not_started_anew_while_something_is_on_trial(tmp_path: Path, world: World) -> None:
    world.contact.heard(world.clock.boottime())
    it = Site(tmp_path, world, FakeProvider("AgentVersion", "Firewall"))
    version = {"apiVersion": "holdfast.io/v1alpha1", "kind": "AgentVersion", "metadata": {"name": "agent"}}
    version["spec"] = {"version": "0.2.0", "wheels": "/srv/wheels"}
    world.answers = False
    async with Running(*it.loops()):
        await it.give(a_target(firewall("one"), version, generation=1))
        await it.until(lambda: stands(it) == "one", "the firewall")
        await it.until(lambda: it.condition("AgentVersion/agent") == ("Waiting", "Dependency"), "the version to wait")
        await it.never(lambda: "AgentVersion/agent" in it.provider.world)
        world.answers = True
        await it.until(lambda: "AgentVersion/agent" in it.provider.world, "the version")
    it.close()


async def test_what_is_gone_back_from_is_said_once_however_often_the_rest_is_tried(it: Site) -> None:
    def walls(text: str, generation: int) -> Target:
        first = firewall(text)
        bodies = [{**first, "metadata": {"name": name}} for name in ("a", "b")]
        return a_target(*bodies, generation=generation)

    def standing() -> list[str]:
        return [str(it.provider.world.get(f"Firewall/{name}", {}).get("spec", {}).get("ruleset")) for name in "ab"]

    def reverted(key: str) -> int:
        return sum(record.body.get("resource") == key for _, record in it.outbox.records if record.kind == "Alarm")

    async with Running(*it.loops()):
        await it.give(walls("one", 1))
        await it.until(lambda: it.site.targets.last_good == walls("one", 1).digest, "last-good")
        it.world.answers = False
        await it.give(walls("two", 2))
        await it.until(lambda: standing() == ["two", "two"], "both")
        it.provider.fails["Firewall/a"] = [TransientError("busy", reason="Busy") for _ in range(20)]
        await it.until(lambda: len(it.provider.fails["Firewall/a"]) < 14, "the first to be tried on")
        it.world.answers = True
        it.provider.fails["Firewall/a"].clear()
        await it.until(lambda: standing() == ["one", "one"] and not it.dead_man.on_trial, "both to be gone back from")
        await it.until(lambda: reverted("Firewall/b") > 0, "the second to be said")
        assert reverted("Firewall/b") == 1


async def test_forgiving_what_was_refused_forgets_no_trial_that_begins_meanwhile(it: Site, tmp_path: Path) -> None:
    it.world.answers = False
    trial = Trial("id", "boot", 1.0, True, ())
    trials = Trials(tmp_path / "trials")
    (tmp_path / "trials").mkdir()
    await trials.put(None, {ResourceKey("Firewall/edge"): Refused("digest", "cause")})
    async with anyio.create_task_group() as group:
        group.start_soon(trials.put, trial)
        await anyio.lowlevel.checkpoint()
        group.start_soon(trials.forgive)
    assert (read(tmp_path / "trials").trial, trials.refused) == (trial, {})
