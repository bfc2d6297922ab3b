"""The loop when something cannot be done or seen: it is tried again, said once, and holds up nothing else."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_protocol.errors import PermanentError, TransientError, UnsupportedError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, resource
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import IMPATIENT, TestSite
from support.transactions import named

pytestmark = pytest.mark.anyio


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


async def test_a_transient_failure_is_tried_again_after_its_back_off_and_not_before(it: TestSite) -> None:
    it.provider.fails["File/a"] = [TransientError("busy", reason="Busy"), TransientError("busy", reason="Busy")]
    async with Running(*it.loops()):
        await it.give(named("a", "b"))
        await eventually(lambda: "File/b" in it.provider.world and not it.site.executor.running)
        await eventually(lambda: it.condition("File/a") == ("Progressing", "Busy"))
        await it.passes(0.9)
        it.provider.tell()
        await it.never(lambda: it.provider.changes().count(("apply", "File/a")) > 1)
        await it.passes(0.2)
        await eventually(lambda: it.provider.changes().count(("apply", "File/a")) == 2)
        await eventually(lambda: not it.site.executor.running)
        await it.passes(2.1)
        await it.reaches("Converged")


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (PermanentError("not allowed", reason="Denied"), ("Failed", "Denied")),
        (UnsupportedError("no engine", reason="NoEngine"), ("Unsupported", "NoEngine")),
        (ZeroDivisionError("a bug"), ("Failed", "ProviderBug")),
    ],
)
async def test_what_cannot_be_is_reported_once_and_holds_up_nothing(
    it: TestSite, error: Exception, condition: tuple[str, str]
) -> None:
    it.provider.refuses["File/a"] = error
    async with Running(*it.loops()):
        await it.give(named("a", "b"))
        await it.reaches("Degraded")
        await eventually(lambda: it.condition("File/b") == ("Ready", "AsWanted"))
        assert it.condition("File/a") == condition
        await it.passes(250)
        await it.never(lambda: it.provider.calls.count(("check", "File/a")) > 1)
        await eventually(lambda: it.outbox.said()[-1:] == ["A3 degraded"])
        assert it.site.owned.things.keys() == {"File/b"}


async def test_a_machine_that_was_mended_is_noticed_within_minutes(it: TestSite) -> None:
    it.provider.refuses["File/a"] = PermanentError("no such user", reason="NoUser")
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Degraded")
        del it.provider.refuses["File/a"]
        await it.passes(301)
        await it.reaches("Converged")


@pytest.mark.invariant("newer-target-cancels-retries")
async def test_a_newer_target_is_tried_at_once_whatever_the_old_one_waited_for(it: TestSite) -> None:
    it.provider.fails["File/a"] = [TransientError("busy", after=300)]
    async with Running(*it.loops()):
        await it.give(named("a", content="old"))
        await eventually(lambda: it.provider.changes() and not it.site.executor.running)
        await it.give(named("a", content="new", generation=2))
        await it.reaches("Converged", 2)


@pytest.mark.invariant("newer-target-cancels-retries")
async def test_a_newer_target_ends_a_change_that_is_under_way(it: TestSite) -> None:
    it.provider.gate = anyio.Event()
    async with Running(*it.loops()):
        await it.give(named("a", content="old"))
        await eventually(lambda: it.provider.changes() == [("apply", "File/a")])
        it.provider.gate = None
        await it.give(named("a", content="new", generation=2))
        await it.reaches("Converged", 2)
    assert it.provider.world["File/a"]["spec"]["content"] == "new"
    with it.database.reading() as connection:
        outcomes = [
            row[0] for row in connection.execute("SELECT outcome FROM journal WHERE key LIKE 'File/%' ORDER BY id")
        ]
    assert outcomes == ["cancelled", "done"]


@pytest.mark.invariant("unknown-kind-is-kept-not-fatal")
async def test_a_kind_nobody_knows_is_unsupported_and_its_dependents_go_on(it: TestSite) -> None:
    cloud = resource({"apiVersion": "x/v1", "kind": "PubSubTopic", "metadata": {"name": "t"}})
    user = resource(file_body("a"), depends_on=(cloud.key,))
    async with Running(*it.loops()):
        await it.give(a_target(content=Content(resources=(cloud, user))))
        await eventually(lambda: "File/a" in it.provider.world)
        await eventually(lambda: it.condition("PubSubTopic/t") == ("Unsupported", "UnknownKind"))
        await eventually(lambda: it.condition("File/a") == ("Ready", "AsWanted"))


async def test_a_provider_that_cannot_look_blinds_only_its_own(tmp_path: Path) -> None:
    files, pods = FakeProvider("File"), FakeProvider("Pod")
    it = TestSite(tmp_path, files, pods)
    pods.blind = TransientError("no answer", reason="EngineDown")
    both = a_target(file_body("a"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    async with Running(*it.loops()):
        await it.give(both)
        await eventually(lambda: "File/a" in files.world)
        await it.reaches("Degraded")
        assert it.condition("Pod/p") == ("Degraded", "EngineDown")
        pods.blind = None
        await it.passes(30)
        await it.reaches("Converged")
    it.close()


async def test_a_provider_that_never_answers_holds_up_nobody_else(tmp_path: Path) -> None:
    files, pods = FakeProvider("File"), FakeProvider("Pod")
    it = TestSite(tmp_path, files, pods, pace=IMPATIENT)
    pods.look_gate = anyio.Event()
    both = a_target(file_body("a"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    async with Running(*it.loops()):
        await it.give(both)
        await eventually(lambda: "File/a" in files.world)
        await eventually(lambda: it.condition("Pod/p") == ("Degraded", "Deadline"))
    it.close()


async def test_a_slow_change_in_one_provider_does_not_delay_another(tmp_path: Path) -> None:
    files, pods = FakeProvider("File"), FakeProvider("Pod")
    it = TestSite(tmp_path, files, pods, pace=IMPATIENT)
    pods.gate = anyio.Event()
    both = a_target(file_body("a"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    async with Running(*it.loops()):
        await it.give(both)
        await eventually(lambda: pods.changes() and "File/a" in files.world)
        del files.world["File/a"]
        files.tell()
        await eventually(lambda: "File/a" in files.world)
        await eventually(lambda: it.condition("Pod/p") == ("Progressing", "Applying"))
        await eventually(lambda: it.condition("Pod/p") == ("Progressing", "Deadline"))
    it.close()


async def test_attempts_survive_a_restart_and_final_ones_are_tried_once_more(it: TestSite, tmp_path: Path) -> None:
    it.provider.fails["File/a"] = [TransientError("busy")]
    it.provider.refuses["File/b"] = PermanentError("no")
    async with Running(*it.loops()):
        await it.give(named("a", "b"))
        await eventually(lambda: len(it.site.attempts.held) == 2 and not it.site.executor.running)
    it.close()
    again = TestSite(tmp_path, it.provider, clock=it.clock)
    assert {key: attempt.count for key, attempt in again.site.attempts.held.items()} == {ResourceKey("File/a"): 1}
    again.close()
