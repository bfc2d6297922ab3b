"""Changes that people at a site lay over its target: kept, shown, over by themselves or by the hub's word."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.core.overrides import accept, flaw, laid_over
from holdfast_edge.store.overrides import Overrides
from holdfast_protocol.errors import MisuseError, NotFoundError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.messages import Override
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.overrides import Decision
from holdfast_protocol.wire.target import Content, Target
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.site import TestSite

pytestmark = pytest.mark.anyio
KEY = "File/a"


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


def wanted(generation: int, *decided: Decision, **contents: str) -> Target:
    bodies = [file_body(name, f"/srv/{name}", text) for name, text in contents.items()]
    resources = tuple(target.resource(body) for body in bodies)
    return a_target(generation=generation, content=Content(resources=resources, overrides=decided))


def content(it: TestSite, key: str = KEY) -> Any:
    return it.provider.world.get(key, {}).get("spec", {}).get("content")


async def override(it: TestSite, text: str, *, seconds: float = 0.0, key: str = KEY) -> Override:
    made = await it.site.overrides.make(
        it.site.wanted_alone(),
        resource=key,
        patch={"spec": {"content": text}},
        reason="bearing is worn",
        seconds=seconds,
        by="uid 0",
        now=it.site.moment(),
    )
    it.site.wakes.wake()
    return made


async def test_an_override_is_applied_shown_reported_and_goes_when_it_is_dropped(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1"))
        await it.reaches("Converged", 1)
        made = await override(it, "mine")
        await eventually(lambda: content(it) == "mine")
        await eventually(lambda: it.condition(KEY) == ("Ready", "Overridden"))
        status = it.site.board.status
        assert status is not None
        assert [(each.id, each.resource, each.problem) for each in status.overrides] == [(made.id, KEY, "")]
        await it.site.overrides.drop(KEY, by="uid 0", now=it.site.moment())
        it.site.wakes.wake()
        await eventually(lambda: content(it) == "1" and it.condition(KEY) == ("Ready", "AsWanted"))
        it.news.wake()
        said = lambda: [each.body["what"] for _, each in it.outbox.records if each.kind == "Audit"]  # noqa: E731
        await eventually(lambda: said() == ["OverrideSet", "OverrideDropped"])


async def test_a_new_target_and_a_restart_keep_it(it: TestSite, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1", b="1"))
        await it.reaches("Converged", 1)
        await override(it, "mine")
        await eventually(lambda: content(it) == "mine")
        await it.give(wanted(2, a="2", b="2"))
        await eventually(lambda: content(it, "File/b") == "2")
        await it.never(lambda: content(it) != "mine")
    it.close()
    again = TestSite(tmp_path, it.provider, clock=it.clock)
    del it.provider.world[KEY]
    async with Running(*again.loops()):
        await eventually(lambda: content(it) == "mine")
    again.close()


async def test_one_that_does_not_fit_a_newer_target_says_so_and_comes_back_with_its_resource(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1", b="1"))
        await it.reaches("Converged", 1)
        await override(it, "mine")
        await eventually(lambda: content(it) == "mine")
        await it.give(wanted(2, b="1"))
        await eventually(lambda: content(it) is None)
        await eventually(
            lambda: it.site.board.status and it.site.board.status.overrides[0].problem == "the target has no File/a now"
        )
        await it.give(wanted(3, a="3", b="1"))
        await eventually(lambda: content(it) == "mine")


async def test_it_ends_by_itself_after_its_time(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1"))
        await it.reaches("Converged", 1)
        await override(it, "mine", seconds=3600)
        await eventually(lambda: content(it) == "mine")
        await it.passes(3601)
        await eventually(lambda: content(it) == "1")
        assert it.site.overrides.active == ()


@pytest.mark.parametrize(("verdict", "target_says", "left"), [("adopted", "mine", "mine"), ("dropped", "1", "1")])
async def test_the_hub_ends_it_by_its_target(it: TestSite, verdict: Any, target_says: str, left: str) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1", b="1"))
        await it.reaches("Converged", 1)
        made = await override(it, "mine")
        await eventually(lambda: content(it) == "mine")
        done = len(it.provider.changes())
        await it.give(wanted(2, Decision(made.id, verdict, "ann"), a=target_says, b="1"))
        await eventually(lambda: it.site.overrides.active == ())
        await eventually(lambda: content(it) == left)
        if verdict == "adopted":
            await it.never(lambda: len(it.provider.changes()) != done)


async def test_what_cannot_be_is_refused_when_it_is_made(it: TestSite) -> None:
    async with Running(*it.loops()):
        with pytest.raises(MisuseError, match="has no File/a"):
            await override(it, "x")
        await it.give(wanted(1, a="1"))
        await it.reaches("Converged", 1)
        alone = it.site.wanted_alone()
        for patch, said in (
            ({"metadata": {"name": "b"}}, "may not change metadata.name"),
            ({"kind": "Secret"}, "may not change kind"),
            ({"spec": {"colour": "red"}}, "unknown field 'colour'"),
            ({"spec": {"path": "relative"}}, "not absolute"),
            ({"spec": {"$patch": "bend"}}, "is one of"),
            ({"spec": 3}, "must stay a map"),
        ):
            assert said in flaw(alone[next(iter(alone))], patch)
        with pytest.raises(NotFoundError):
            await it.site.overrides.drop("nothing", by="x", now=it.site.moment())
        assert content(it) == "1"


def test_two_of_different_resources_do_not_meet() -> None:
    every = {each.key: each for each in wanted(1, a="1", b="1").content.resources}
    given = [Override(name, f"File/{name}", {"spec": {"content": name}}, "x", "y", 1) for name in ("a", "b")]
    laid = laid_over(every, given)
    assert [each.spec["content"] for _, each in sorted(laid.wanted.items())] == ["a", "b"]
    assert laid_over(every, []).wanted == every
    assert Content().overrides == ()


def service(name: str, *, after: tuple[str, ...] = (), **spec: Any) -> target.Resource:
    unit = "[Service]\nExecStart=/bin/true\n"
    metadata = {"name": name}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "SystemdService", "metadata": metadata}
    return target.resource({**body, "spec": {"unit": unit, **spec}}, depends_on=tuple(map(ResourceKey, after)))


def test_one_by_which_a_resource_would_wait_for_itself_is_refused_and_not_in_effect() -> None:
    every = {each.key: each for each in (service("a", after=("SystemdService/b",)), service("b"))}
    patch = {"spec": {"restartOn": ["SystemdService/a"]}}
    given = Override("1", "SystemdService/b", patch, "x", "y", 1)
    laid = laid_over(every, [given])
    assert laid.wanted == every
    assert laid.problems["1"].startswith("it would wait for itself: SystemdService/b")
    with pytest.raises(MisuseError, match="would wait for itself"):
        accept(every, [], given, 60.0)
    assert laid_over({key: each for key, each in every.items() if key.endswith("b")}, [given]).problems == {}


async def test_two_changes_at_the_same_moment_are_both_kept(it: TestSite, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1", b="1"))
        await it.reaches("Converged", 1)
        async with anyio.create_task_group() as group:
            group.start_soon(override, it, "mine")
            group.start_soon(lambda: override(it, "mine too", key="File/b"))
        assert {each.resource for each in it.site.overrides.active} == {KEY, "File/b"}
        assert {each.resource for each in Overrides(it.database).active} == {KEY, "File/b"}


async def test_one_made_while_another_ends_stays(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(1, a="1", b="1"))
        await it.reaches("Converged", 1)
        made = await override(it, "mine")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: override(it, "mine too", key="File/b"))
            group.start_soon(lambda: it.site.overrides.drop(made.id, by="uid 0", now=it.site.moment()))
        assert [each.resource for each in it.site.overrides.active] == ["File/b"]


async def test_one_whose_end_the_disk_does_not_take_yet_keeps_the_loop_from_no_rest(
    it: TestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*given: Any) -> None:
        raise TransientError("full", reason="DiskFull")

    async with Running(*it.loops()):
        await it.give(wanted(1, a="1"))
        await it.reaches("Converged", 1)
        await override(it, "mine", seconds=60)
    it.clock.advance(61)
    monkeypatch.setattr(it.site.database, "call", refused)
    with pytest.raises(TransientError):
        await it.site.overrides.expire(it.site.moment())
    assert it.site.overrides.next_end(it.site.moment()) is None
