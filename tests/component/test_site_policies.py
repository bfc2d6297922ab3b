"""Policies again at the site: what breaks one is not applied, what runs stays, and what nobody can check is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast_edge.core import policies
from holdfast_protocol.wire.target import Content, Target, resource
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.programs import content_of
from support.site import TestSite

pytestmark = pytest.mark.anyio

QUIET = {
    "name": "quiet",
    "match": {"kinds": ["File"]},
    "rules": [{"name": "no-noise", "expression": "object.spec.content != 'noise'", "message": "files do not shout"}],
}


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


def given(*contents: str, generation: int = 1, **fields: Any) -> Target:
    bodies = [file_body(f"f{number}", f"/srv/f{number}", text) for number, text in enumerate(contents)]
    content = Content(resources=tuple(map(resource, bodies)), **{"policies": (QUIET,), **fields})
    return a_target(content=content, generation=generation)


def shown(it: TestSite, key: str) -> tuple[str, str] | None:
    status = it.site.board.status
    entries = status.resources if status is not None else ()
    return next(((one.condition.type, one.condition.reason) for one in entries if one.key == key), None)


async def test_what_breaks_a_policy_is_not_applied_and_says_which_one(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(given("noise", "music"))
        await eventually(lambda: "File/f1" in it.provider.world)
        await it.reaches("Degraded")
        status = it.site.board.status
        assert status is not None
        said = {each.key: each.condition for each in status.resources}
        assert (said["File/f0"].type, said["File/f0"].reason) == ("Failed", "PolicyViolation")  # type: ignore[index]
        assert said["File/f0"].message == "Policy/quiet (no-noise): files do not shout"  # type: ignore[index]
        assert status.observed_digest != status.digest
        it.provider.tell()
        await it.never(lambda: "File/f0" in it.provider.world)


async def test_what_runs_stays_when_a_policy_comes_to_forbid_it(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(given("noise", policies=()))
        await it.reaches("Converged")
        await it.give(given("noise", "music", generation=2))
        await eventually(lambda: "File/f1" in it.provider.world)
        await eventually(lambda: shown(it, "File/f0") == ("Failed", "PolicyViolation"))
        await it.never(lambda: "File/f0" not in it.provider.world)


async def test_what_a_site_decides_itself_is_checked_like_everything_else(it: TestSite) -> None:
    text = """
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: app}
spec:
  schema: {apiVersion: v1alpha1, kind: App, spec: {name: string}}
  resources:
    - id: a
      template: {apiVersion: v1, kind: File, metadata: {name: a}, spec: {path: /srv/a, content: x}}
    - id: b
      template: {apiVersion: v1, kind: File, metadata: {name: b}, spec: {path: /srv/b, content: "${a.status.word}"}}
---
apiVersion: v1alpha1
kind: App
metadata: {name: one}
"""
    it.provider.statuses["File/a"] = {"word": "noise"}
    content = msgspec.structs.replace(content_of(text), policies=(QUIET,))
    async with Running(*it.loops()):
        await it.give(a_target(content=content))
        await eventually(lambda: "File/a" in it.provider.world)
        await eventually(lambda: shown(it, "File/b") == ("Failed", "PolicyViolation"))
        it.provider.statuses["File/a"] = {"word": "music"}
        it.provider.tell()
        await eventually(lambda: "File/b" in it.provider.world)
        await it.reaches("Converged")


async def test_policies_nobody_can_check_let_nothing_through(it: TestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Running(*it.loops()):
        await it.give(given("music", policies=()))
        await it.reaches("Converged")
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "holdfast_protocol.blueprint.policy", None)
            patched.delattr("holdfast_protocol.blueprint.policy", raising=False)
            await it.give(given("music", "music", generation=2))
            await eventually(lambda: shown(it, "File/f1") == ("Failed", "NoExpressions"))
            assert set(it.provider.world) == {"File/f0"}
        await it.give(given("music", "music", generation=3, policies=({**QUIET, "rules": "x"},)))
        await eventually(lambda: shown(it, "File/f1") == ("Failed", "BadPolicy"))
        assert set(it.provider.world) == {"File/f0"}


def test_each_body_is_judged_once() -> None:
    one, other = resource(file_body("a")), resource(file_body("b"))
    marks = policies.marks([one])
    changed = resource(file_body("a", content="new"))
    assert policies.fresh({one.key: one, other.key: other}, marks) == [other]
    assert policies.fresh({changed.key: changed}, marks) == [changed]


async def test_a_judgement_that_broke_is_made_again_at_the_next_look(
    it: TestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, broken = policies.refusals, [MemoryError("no room"), MemoryError("no room")]

    def breaking(*given: Any) -> Any:
        if broken:
            raise broken.pop()
        return refusals(*given)

    monkeypatch.setattr(policies, "refusals", breaking)
    async with Running(*it.loops()):
        await it.give(given("noise", "music"))
        await eventually(lambda: shown(it, "File/f1") == ("Failed", "ProviderBug"))
        await eventually(lambda: it.provider.tell() or "File/f1" in it.provider.world)
        assert not broken
        await eventually(lambda: shown(it, "File/f0") == ("Failed", "PolicyViolation"))
