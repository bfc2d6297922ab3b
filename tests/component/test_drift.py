"""Drift at a site: corrected, reported or left alone; and a fight that is not joined for ever."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.core.attempts import BUDGET, COOL_DOWN
from holdfast_protocol.wire.drift import ANNOTATION, Rule
from holdfast_protocol.wire.target import Content, Target, resource
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.site import TestSite

pytestmark = pytest.mark.anyio


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


def one(mode: str = "", *, generation: int = 1, content: str = "x", rules: tuple[Rule, ...] = ()) -> Target:
    body = file_body("a", "/srv/a", content)
    if mode:
        body["metadata"]["annotations"] = {ANNOTATION: mode}
    requires = ("resources/v1", "drift/v1") if rules else ("resources/v1",)
    return a_target(content=Content(resources=(resource(body),), drift=rules, requires=requires), generation=generation)


def changed(it: TestSite) -> dict[str, Any]:
    it.provider.world["File/a"] = {"changed": "by hand"}
    it.provider.tell()
    return it.provider.world["File/a"]


@pytest.mark.parametrize("wanted", [one("report"), one(rules=(Rule("quiet", "report", ("File/*",)),))])
async def test_what_is_only_reported_stays_as_somebody_made_it(it: TestSite, wanted: Target) -> None:
    async with Running(*it.loops()):
        await it.give(wanted)
        await it.reaches("Converged")
        await it.passes(61)
        await eventually(lambda: it.site.targets.last_good == wanted.digest)
        by_hand = changed(it)
        await eventually(lambda: it.condition("File/a") == ("Degraded", "Drifted"))
        await it.passes(3600)
        await it.never(lambda: it.provider.world["File/a"] is not by_hand)
        status = it.site.board.status
        assert status is not None
        assert "body: differs" in status.resources[0].condition.message
        assert status.observed_digest != status.digest
        await it.give(one("report", generation=2, content="new"))
        await it.reaches("Converged", 2)
        assert it.provider.world["File/a"]["spec"]["content"] == "new"


async def test_what_is_ignored_is_not_even_said(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(one("ignore"))
        await it.reaches("Converged")
        by_hand = changed(it)
        looks = it.provider.looks
        await it.passes(60)
        await eventually(lambda: it.provider.looks > looks)
        assert it.provider.world["File/a"] is by_hand
        assert it.condition("File/a") == ("Ready", "AsWanted")


async def test_a_policy_that_is_taken_back_has_the_drift_corrected(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(one(rules=(Rule("quiet", "ignore"),)))
        await it.reaches("Converged")
        changed(it)
        await it.give(one(generation=2))
        await eventually(lambda: it.provider.world["File/a"].get("spec"))


async def test_a_fight_is_given_up_said_once_and_taken_up_after_a_long_rest(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(one())
        await it.reaches("Converged")
        for _ in range(BUDGET):
            repairs = it.provider.changes().count(("apply", "File/a"))
            changed(it)
            for _ in range(6):
                if it.provider.changes().count(("apply", "File/a")) > repairs:
                    break
                await it.passes(10)
            await eventually(
                lambda repairs=repairs: it.provider.changes().count(("apply", "File/a")) > repairs  # type: ignore[misc]
            )
            await eventually(lambda: not it.site.executor.running)
        by_hand = changed(it)
        await eventually(lambda: it.condition("File/a") == ("Degraded", "Contested"))
        await it.passes(COOL_DOWN / 2)
        await it.never(lambda: it.provider.world["File/a"] is not by_hand)
        await it.passes(COOL_DOWN / 2)
        await eventually(lambda: it.provider.world["File/a"].get("spec"))
        it.news.wake()
        alarms = [record.body for _, record in it.outbox.records if record.kind == "Alarm"]
        assert [(alarm["reason"], alarm["resource"]) for alarm in alarms] == [("Contested", "File/a")]
        assert "body: differs" in alarms[0]["message"]
