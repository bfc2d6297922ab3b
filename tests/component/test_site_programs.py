"""A target's programs in the loop: what is decided here is made, waits, stays and goes; offline and after a restart."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.core.programs import Compiled
from holdfast_edge.reconcile import evaluation
from holdfast_protocol.wire.messages import InstanceStatus
from holdfast_protocol.wire.target import Target
from support.builders import a_target
from support.clock import Running, eventually
from support.programs import content_of
from support.provider import FakeProvider
from support.site import IMPATIENT, TestSite
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio

APP = """
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: app}
spec:
  schema:
    apiVersion: v1alpha1
    kind: App
    spec: {name: string}
    status:
      port: ${db.status.port}
      conditions: ['${runtime.newCondition({type: "Served", status: web.spec.content == "1" ? "True" : "False"})}']
  resources:
    - id: db
      readyWhen: ["${db.status.port > 0}"]
      template: {apiVersion: v1, kind: File, metadata: {name: db}, spec: {path: /srv/db, content: x}}
    - id: after
      template: {apiVersion: v1, kind: File, metadata: {name: after}, spec: {path: /srv/after, content: "${db.metadata.name}"}}
    - id: web
      includeWhen: ["${db.status.port < 9}"]
      template:
        apiVersion: v1
        kind: File
        metadata: {name: web}
        spec: {path: /srv/web, content: "${string(db.status.port)}"}
---
apiVersion: v1alpha1
kind: App
metadata: {name: one}
spec: {name: one}
"""


def a_site_target(text: str = APP, generation: int = 1) -> Target:
    return a_target(content=content_of(text, generation), generation=generation)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


def said(it: TestSite) -> InstanceStatus:
    status = it.site.board.status
    assert status is not None
    return status.instances[0]


def shown(it: TestSite, key: str) -> tuple[str, str] | None:
    status = it.site.board.status
    entries = status.resources if status is not None else ()
    return next(((one.condition.type, one.condition.reason) for one in entries if one.key == key), None)


def content(it: TestSite, name: str) -> Any:
    body = it.provider.world.get(f"File/{name}")
    return body["spec"]["content"] if body else None


async def test_ready_when_holds_back_what_comes_after_until_it_holds(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(a_site_target())
        await eventually(lambda: shown(it, "File/db") == ("Progressing", "ReadyWhen"))
        assert shown(it, "File/after") == ("Waiting", "Dependency")
        assert shown(it, "File/App/one:web") == ("Waiting", "Undecided")
        await it.never(lambda: content(it, "after"))
        assert said(it).state == "IN_PROGRESS"
        it.provider.statuses["File/db"] = {"port": 1}
        it.provider.tell()
        await it.reaches("Converged")
        assert (content(it, "after"), content(it, "web")) == ("db", "1")
        status = it.site.board.status
        assert status is not None
        assert status.observed_digest == status.digest
        await eventually(lambda: said(it).state == "ACTIVE")
        assert said(it).status == {"port": 1}
        assert [(each["type"], each["status"]) for each in said(it).conditions] == [("Served", "True")]


@pytest.mark.invariant("nothing-is-removed-because-of-time")
@pytest.mark.invariant("hub-silence-changes-nothing")
async def test_what_flips_is_followed_what_is_unknown_stays_and_what_is_left_out_goes(it: TestSite) -> None:
    it.provider.statuses["File/db"] = {"port": 1}
    async with Running(*it.loops()):
        await it.give(a_site_target(APP.replace("${db.status.port > 0}", "${db.?status.?port.orValue(1) > 0}")))
        await it.reaches("Converged")
        it.provider.statuses["File/db"] = {"port": 2}
        it.provider.tell()
        await eventually(lambda: content(it, "web") == "2")
        it.provider.statuses["File/db"] = {}
        it.provider.tell()
        await eventually(lambda: shown(it, "File/web") == ("Waiting", "Undecided"))
        status = it.site.board.status
        assert status is not None
        assert status.observed_digest != status.digest
        del it.provider.world["File/web"]
        it.provider.tell()
        await eventually(lambda: content(it, "web") == "2")  # drift is mended while nobody can say more
        await it.passes(365 * 86400)
        await it.never(lambda: content(it, "web") != "2")
        it.provider.statuses["File/db"] = {"port": 10}
        it.provider.tell()
        await eventually(lambda: content(it, "web") is None)
        await it.reaches("Converged")
        assert it.provider.changes()[-1] == ("remove", "File/web")
        await eventually(lambda: said(it).state == "ACTIVE")


async def test_everything_is_decided_again_offline_after_a_restart(it: TestSite, tmp_path: Path) -> None:
    it.provider.statuses["File/db"] = {"port": 1}
    async with Running(*it.loops()):
        await it.give(a_site_target())
        await it.reaches("Converged")
    it.close()
    it.provider.statuses["File/db"] = {}
    done = it.provider.changes()
    again = TestSite(tmp_path, it.provider, clock=it.clock)
    async with Running(*again.loops()):
        await eventually(lambda: again.site.board.status is not None and shown(again, "File/web") is not None)
        await eventually(lambda: shown(again, "File/web") == ("Waiting", "Undecided"))
        assert again.provider.changes() == done
        it.provider.statuses["File/db"] = {"port": 3}
        again.provider.tell()
        await eventually(lambda: content(again, "web") == "3")
        await again.reaches("Converged")
    again.close()


async def test_a_target_without_the_instance_removes_all_of_it_and_a_newer_one_keeps_what_it_decides(
    it: TestSite,
) -> None:
    it.provider.statuses["File/db"] = {"port": 1}
    async with Running(*it.loops()):
        await it.give(a_site_target())
        await it.reaches("Converged")
        done = len(it.provider.changes())
        await it.give(a_site_target(APP.replace("port > 0", "port >= 1"), 2))
        await it.reaches("Converged", 2)
        assert it.provider.changes()[done:] == []
        it.provider.statuses["File/db"] = {}
        await it.give(a_site_target(APP.replace("port > 0", "port > -1"), 3))
        await eventually(lambda: shown(it, "File/web") == ("Waiting", "Undecided"))
        assert it.provider.changes()[done:] == []
        await it.give(a_target(generation=4))
        await eventually(lambda: set(it.provider.world) == {"File/motd"})


async def test_an_evaluation_that_does_not_end_decides_nothing_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = TestSite(tmp_path, pace=IMPATIENT)
    it.provider.statuses["File/db"] = {"port": 1}
    stuck, judge = threading.Event(), Compiled.judge

    async with Running(*it.loops()):
        await it.give(a_site_target())
        await it.reaches("Converged")
        monkeypatch.setattr(Compiled, "judge", lambda *words: stuck.wait(HANGS_S) and judge(*words))
        it.provider.statuses["File/db"] = {"port": 2}
        it.provider.tell()
        await eventually(lambda: shown(it, "File/web") == ("Degraded", "EvaluationTimeout"))
        del it.provider.world["File/after"]
        it.provider.tell()
        await eventually(lambda: content(it, "after") == "db")
        assert content(it, "web") == "1"
        stuck.set()
        await eventually(lambda: content(it, "web") == "2")
        await it.reaches("Converged")
    it.close()


async def test_a_bug_in_evaluating_is_a_condition_and_not_the_end(
    it: TestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Compiled, "judge", broken)
    async with Running(*it.loops()):
        await it.give(a_site_target())
        await eventually(lambda: shown(it, "File/App/one:web") == ("Failed", "ProviderBug"))
        await eventually(lambda: content(it, "after") == "db")


class Finding(FakeProvider):
    def __init__(self) -> None:
        super().__init__("File")
        self.there: list[dict[str, Any]] = []

    async def find(self, kind: str, name: str, namespace: str) -> list[dict[str, Any]]:
        return [each for each in self.there if name in ("", each["metadata"]["name"])]


async def test_an_object_no_target_made_is_asked_of_its_provider(tmp_path: Path) -> None:
    provider = Finding()
    text = APP.replace('readyWhen: ["${db.status.port > 0}"]', "").replace(
        "template: {apiVersion: v1, kind: File, metadata: {name: db}, spec: {path: /srv/db, content: x}}",
        "externalRef: {apiVersion: v1, kind: File, metadata: {name: theirs}}",
    )
    assert "externalRef" in text
    site = TestSite(tmp_path, provider)
    async with Running(*site.loops()):
        await site.give(a_site_target(text))
        await eventually(lambda: shown(site, "File/App/one:db") == ("Waiting", "NotThere"))
        provider.there = [{"apiVersion": "v1", "kind": "File", "metadata": {"name": "theirs"}, "status": {"port": 4}}]
        provider.tell()
        await eventually(lambda: content(site, "web") == "4")
        await site.reaches("Converged")
        assert "File/theirs" not in provider.world
    site.close()


async def test_a_provider_that_gives_no_answer_holds_up_a_look_once_and_not_for_every_object(tmp_path: Path) -> None:
    class Silent(Finding):
        asked = 0

        async def find(self, kind: str, name: str, namespace: str) -> list[dict[str, Any]]:
            self.asked += 1
            await anyio.sleep_forever()
            return []

    names = [f"theirs{number}" for number in range(6)]
    references = "".join(
        f"    - id: {name}\n      externalRef: {{apiVersion: v1, kind: File, metadata: {{name: {name}}}}}\n"
        for name in names
    )
    head, resources, rest = APP.partition("  resources:\n")
    provider = Silent()
    site = TestSite(tmp_path, provider, pace=IMPATIENT)
    async with Running(*site.loops()):
        await site.give(a_site_target(f"{head}{resources}{references}{rest}"))
        await eventually(lambda: provider.asked > 0)
        looks = provider.looks

        def looked() -> bool:
            site.site.wakes.wake()
            return provider.looks > looks + 1

        await eventually(looked)
        assert provider.asked <= provider.looks
    site.close()


async def test_an_evaluation_that_broke_is_made_again_at_the_next_look(
    it: TestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, broken = evaluation.compiled, []

    def breaking(*given: Any) -> Any:
        if broken:
            raise broken.pop()
        return made(*given)

    monkeypatch.setattr(evaluation, "compiled", breaking)
    it.provider.statuses["File/db"] = {"port": 1}
    async with Running(*it.loops()):
        await it.give(a_site_target())
        await it.reaches("Converged")
        broken.append(MemoryError("no room"))
        it.provider.statuses["File/db"] = {"port": 2}
        await eventually(lambda: it.provider.tell() or not broken)
        await eventually(lambda: it.provider.tell() or content(it, "web") == "2")
