"""Changes on trial that cannot be gone back from, or have a guard that cannot be called off: nothing else suffers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_edge.providers.port import Scope
from holdfast_edge.store.trials import read
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire.target import Resource, Target
from support.builders import a_target
from support.clock import FakeClock, Running
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


def two_walls(a: str, b: str, generation: int) -> Target:
    bodies = [{**firewall(text), "metadata": {"name": name}} for name, text in (("a", a), ("b", b)) if text]
    return a_target(*bodies, generation=generation)


def ruleset(it: Site, name: str) -> str:
    return str(it.provider.world.get(f"Firewall/{name}", {}).get("spec", {}).get("ruleset", ""))


class _Stubborn(FakeProvider):
    """Does not make what has such a rule set."""

    not_made: str | None = None

    async def apply(self, resource: Resource, scope: Scope) -> None:
        if resource.spec["ruleset"] == self.not_made:
            raise TransientError("busy", reason="Busy")
        await super().apply(resource, scope)


async def test_an_unjudged_change_is_gone_back_from_although_its_undoing_failed(it: Site) -> None:
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        it.world.answers = False
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two" and bool(it.dead_man.on_trial), "it")
        it.provider.fails["Firewall/edge"] = [PermanentError("it would cut the way", reason="CutsTheWay")]
        await it.give(wall("one", 3))
        await it.until(lambda: not it.provider.fails["Firewall/edge"], "the undoing to fail")
        assert it.world.armed
        await it.until(lambda: stands(it) == "one", "the old rules")
        it.world.answers = True
        await it.until(lambda: said(it) == ("Ready", "AsWanted"), "what stands again to be wanted, not refused")


async def test_a_change_that_comes_while_another_cannot_be_gone_back_from_is_not_judged_with_it(it: Site) -> None:
    async with Running(*it.loops()):
        await it.give(two_walls("one", "", 1))
        await it.until(lambda: it.site.targets.last_good == two_walls("one", "", 1).digest, "last-good")
        it.world.answers = False
        await it.give(two_walls("two", "", 2))
        await it.until(lambda: ruleset(it, "a") == "two", "it")
        it.provider.fails["Firewall/a"] = [TransientError("busy", reason="Busy") for _ in range(1000)]
        await it.until(lambda: len(it.provider.fails["Firewall/a"]) < 995, "going back to be tried")
        await it.give(two_walls("one", "new", 3))
        await it.until(lambda: "Firewall/b" in it.site.attempts.held, "the other to be tried")
        await it.never(lambda: ruleset(it, "b"))
        it.world.answers = True
        it.provider.fails["Firewall/a"].clear()
        await it.until(lambda: (ruleset(it, "a"), ruleset(it, "b")) == ("one", "new"), "both")
        await it.until(lambda: it.condition("Firewall/b") == ("Ready", "AsWanted"), "the other to be kept")


async def test_one_that_cannot_be_gone_back_from_keeps_no_other_from_it(it: Site) -> None:
    async with Running(*it.loops()):
        await it.give(two_walls("one", "one", 1))
        await it.until(lambda: it.site.targets.last_good == two_walls("one", "one", 1).digest, "last-good")
        it.world.answers = False
        await it.give(two_walls("two", "two", 2))
        await it.until(lambda: ruleset(it, "a") == ruleset(it, "b") == "two", "both")
        trial = read(it.database.path.parent).trial
        assert trial is not None
        last = trial.changes[-1].key
        it.provider.fails[last] = [TransientError("busy", reason="Busy") for _ in range(1000)]
        other = "b" if last.endswith("/a") else "a"
        await it.until(lambda: ruleset(it, other) == "one", "the other")


async def test_what_replaces_a_change_that_cannot_be_gone_back_from_is_tried_for_itself(
    tmp_path: Path, world: World
) -> None:
    world.contact.heard(world.clock.boottime())
    provider = _Stubborn("Firewall", "File")
    it = Site(tmp_path, world, provider)
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        world.answers = False
        await it.give(wall("two", 2))
        await it.until(lambda: stands(it) == "two", "it")
        provider.not_made = "one"
        await it.until(lambda: "trial" in it.site.board.notes, "going back to fail")
        world.answers = True
        await it.give(wall("three", 3))
        await it.until(lambda: stands(it) == "three", "it")
        await it.until(lambda: not it.dead_man.on_trial, "the trial to end")
        assert stands(it) == "three"
        await it.until(lambda: said(it) == ("Ready", "AsWanted"), "it to be ready")
    it.close()


async def test_a_guard_that_cannot_be_called_off_is_no_lasting_trouble(it: Site) -> None:
    async def disarm() -> None:
        raise TransientError("systemctl hangs", reason="NoGuard")

    it.world.disarm = disarm  # type: ignore[method-assign]
    async with Running(*it.loops()):
        await kept(it, "one", 1)
        assert "trial" not in it.site.board.notes
