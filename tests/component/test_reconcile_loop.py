"""The loop with a real database: what it does, in which order, and what it leaves alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.core.steps import Create
from holdfast_edge.store import notices
from holdfast_edge.store.owned import OwnedThings
from holdfast_protocol.errors import MisuseError, TransientError
from holdfast_protocol.wire import target as targets
from holdfast_protocol.wire.target import Content, Target, resource
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite
from support.transactions import named

pytestmark = pytest.mark.anyio


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


def chained(*names: str, generation: int = 1, kind: str = "File") -> Target:
    """Each after the one before."""
    made: list[targets.Resource] = []
    for name in names:
        body = {**file_body(name, f"/srv/{name}"), "kind": kind}
        made.append(resource(body, depends_on=tuple(each.key for each in made[-1:])))
    return a_target(content=Content(resources=tuple(made)), generation=generation)


async def test_a_target_is_applied_and_reported_up_to_stable(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a", "b"))
        await it.reaches("Converged")
        assert it.provider.changes() == [("apply", "File/a"), ("apply", "File/b")]
        status = it.site.board.status
        assert status is not None
        assert status.observed_digest == status.digest
        await eventually(lambda: len(it.outbox.records) == 3)
        await it.passes(60)
        await eventually(lambda: it.site.targets.last_good == status.digest)
        await eventually(lambda: len(it.outbox.records) == 4)
    assert it.outbox.said() == ["A1 received", "A2 accepted", "A3 converged", "A4 stable"]
    assert {stream for stream, _ in it.outbox.records} == {"p0"}


async def test_a_converged_site_does_nothing_but_look(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        done = it.provider.changes()
        for _ in range(5):
            looks = it.provider.looks
            await it.passes(30)
            await eventually(lambda looks=looks: it.provider.looks > looks)  # type: ignore[misc]
        assert it.provider.changes() == done


async def test_drift_is_repaired_at_an_event(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        del it.provider.world["File/a"]
        it.provider.tell()
        await eventually(lambda: "File/a" in it.provider.world)


async def test_drift_without_an_event_is_repaired_at_the_periodic_look(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        del it.provider.world["File/a"]
        await it.passes(30)
        await eventually(lambda: "File/a" in it.provider.world)


@pytest.mark.invariant("no-content-in-wakeups")
async def test_any_number_of_wakes_is_one_look_and_a_wake_during_a_look_is_another(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        await eventually(lambda: not it.site.executor.running)
        await it.rests()
        looks = it.provider.looks
        it.provider.look_gate = anyio.Event()
        for _ in range(1000):
            it.provider.tell()
        await eventually(lambda: it.provider.looks == looks + 1)
        it.provider.tell()
        gate, it.provider.look_gate = it.provider.look_gate, None
        gate.set()
        await eventually(lambda: it.provider.looks == looks + 2)
        await it.never(lambda: it.provider.looks > looks + 2)


async def test_what_a_look_saw_before_a_change_ended_is_not_changed_again(tmp_path: Path) -> None:
    quick, slow = FakeProvider("File"), FakeProvider("Directory")
    it = TestSite(tmp_path, quick, slow)
    folder = {**file_body("b", "/srv/b"), "kind": "Directory"}
    async with Running(*it.loops()):
        quick.gate = anyio.Event()
        await it.give(a_target(file_body("a", "/srv/a"), folder))
        await eventually(lambda: ("apply", "File/a") in quick.calls)
        await eventually(lambda: "Directory/b" in slow.world)
        slow.look_gate, before = anyio.Event(), quick.looks
        it.site.wakes.wake()
        await eventually(lambda: quick.looks > before and slow.look_gate is not None)  # it saw no File/a
        quick.gate.set()
        await eventually(lambda: not it.site.executor.running)
        slow.look_gate.set()
        await it.reaches("Converged")
        assert quick.changes() == [("apply", "File/a")]
    it.close()


async def test_dependencies_are_made_in_order_and_removed_in_reverse(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(chained("c", "b", "a"))
        await it.reaches("Converged")
        await it.give(named("z", generation=2))
        await it.reaches("Converged", 2)
    assert [key for verb, key in it.provider.changes() if verb == "apply" and key != "File/z"] == [
        "File/c",
        "File/b",
        "File/a",
    ]
    assert [key for verb, key in it.provider.changes() if verb == "remove"] == ["File/a", "File/b", "File/c"]


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_pruning_leaves_what_is_not_ours(it: TestSite) -> None:
    it.provider.world["File/stranger"] = {"made": "by hand"}
    async with Running(*it.loops()):
        await it.give(named("a", "b"))
        await it.reaches("Converged")
        await it.give(named("a", generation=2))
        await it.reaches("Converged", 2)
    assert set(it.provider.world) == {"File/a", "File/stranger"}


@pytest.mark.invariant("nothing-is-removed-because-of-time")
@pytest.mark.invariant("hub-silence-changes-nothing")
async def test_a_year_without_a_hub_changes_nothing(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        done = it.provider.changes()
        for _ in range(12):
            looks = it.provider.looks
            await it.passes(30 * 86400)
            await eventually(lambda looks=looks: it.provider.looks > looks)  # type: ignore[misc]
        it.clock.set_wall(0)
        await it.passes(31)
        await it.never(lambda: it.provider.changes() != done)


async def test_owned_things_stay_while_there_is_no_target(it: TestSite, tmp_path: Path) -> None:
    with it.database.transaction() as connection:
        it.site.owned.claim(connection, named("a").content.resources[0], {})
    it.provider.world["File/a"] = file_body("a", "/srv/a")
    async with Running(*it.loops()):
        await it.reaches("NoTarget")
        await it.passes(60)
        await it.never(lambda: it.provider.changes())


@pytest.mark.invariant("intent-before-effect")
async def test_intent_and_ownership_are_on_disk_before_the_effect(it: TestSite, tmp_path: Path) -> None:
    found: list[Any] = []

    def look(verb: str, key: str) -> None:
        with it.database.reading() as connection:
            rows = connection.execute("SELECT action, key, outcome FROM journal WHERE outcome IS NULL").fetchall()
            owned = connection.execute("SELECT key FROM owned").fetchall()
        found.append((verb, key, rows, owned, key in (tmp_path / "owned.jsonl").read_text()))

    it.provider.before_effect = look
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        await it.give(a_target(content=Content(), generation=2))
        await it.reaches("Converged", 2)
    assert found == [
        ("apply", "File/a", [("create", "File/a", None)], [("File/a",)], True),
        ("remove", "File/a", [("remove", "File/a", None)], [("File/a",)], True),
    ]
    assert OwnedThings(it.database, tmp_path).things == {}


@pytest.mark.invariant("intent-before-effect")
async def test_a_kill_in_the_middle_is_found_at_the_next_start_and_finished(it: TestSite, tmp_path: Path) -> None:
    change = Create(named("a").content.resources[0])
    await it.site.targets.accept(named("a"), targets.seal(named("a"), []), at=0, reason="received")
    await it.site.executor._journal.begin(change, {}, at=0)  # and the process is gone
    it.close()
    again = TestSite(tmp_path, it.provider)
    assert [(entry.key, entry.action) for entry in again.site.interrupted] == [("File/a", "create")]
    async with Running(*again.loops()):
        await again.reaches("Converged")
    again.close()
    third = TestSite(tmp_path, it.provider)
    assert third.site.interrupted == ()
    third.close()


async def test_a_hold_stops_repairs_until_it_expires(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        hold = await it.site.holds.make(
            reason="debugging", seconds=600, resources=["File/a"], by="uid 0", now=it.site.moment()
        )
        del it.provider.world["File/a"]
        it.provider.tell()
        await it.reaches("Held")
        await it.passes(599)
        await it.never(lambda: "File/a" in it.provider.world)
        await it.passes(2)
        await it.reaches("Converged")
        it.news.wake()
        await eventually(lambda: len([1 for _, record in it.outbox.records if record.kind == "Audit"]) == 2)
    audit = [record.body for _, record in it.outbox.records if record.kind == "Audit"]
    assert [(each["what"], each["hold"]["id"]) for each in audit] == [("HoldMade", hold.id), ("HoldExpired", hold.id)]


async def test_a_hold_that_would_fit_no_report_is_refused(it: TestSite) -> None:
    for resources in ([f"File/{number:0295}" for number in range(1000)], ["\U0001f512" * 300] * 1000):
        names = [f"{name}{number}"[-300:] for number, name in enumerate(resources)]
        with pytest.raises(MisuseError, match="a hold has at most"):
            await it.site.holds.make(reason="r", seconds=600, resources=names, by="uid 0", now=it.site.moment())
    held = [f"Deployment/shop/{number:040}" for number in range(1000)]
    await it.site.holds.make(reason="r", seconds=600, resources=held, by="uid 0", now=it.site.moment())
    async with Running(*it.loops()):
        await eventually(lambda: it.outbox.records)
    assert it.outbox.records[0][1].body["what"] == "HoldMade"


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.invariant("every-loss-is-counted")
async def test_a_notice_that_can_never_be_sent_is_said_to_have_been_and_those_behind_it_go(it: TestSite) -> None:
    with it.database.transaction() as connection:
        for body in ({"n": 1}, {"n": "x" * 200_000}, {"n": 3}):
            notices.insert(connection, "Audit", 7, body)
    async with Running(*it.loops()):
        await eventually(lambda: len(it.outbox.records) == 3)
        await it.give(named("a"))
        await eventually(lambda: "A3 converged" in it.outbox.said())
    bodies = [record.body for _, record in it.outbox.records[:3]]
    assert (bodies[0], bodies[1]["what"], bodies[1]["reason"], bodies[2]) == (
        {"n": 1},
        "Unsendable",
        "BadRecord",
        {"n": 3},
    )


@pytest.mark.invariant("outbox-never-blocks-reconcile")
async def test_a_full_outbox_delays_reports_and_nothing_else(it: TestSite) -> None:
    it.outbox.trouble = TransientError("disk full", reason="DiskFull")
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        await eventually(
            lambda: (
                "DiskFull: reports wait: disk full" in (it.site.board.status.problems if it.site.board.status else ())
            )
        )
        it.outbox.trouble = None
        await it.passes(5)
        await eventually(lambda: len(it.outbox.records) == 3)
        await eventually(lambda: it.site.board.status and not it.site.board.status.problems)
    assert it.outbox.said() == ["A1 received", "A2 accepted", "A3 converged"]


async def test_a_restart_applies_nothing_again_and_says_nothing_again(it: TestSite, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await it.give(named("a"))
        await it.reaches("Converged")
        await eventually(lambda: len(it.outbox.records) == 3)
    it.close()
    again = TestSite(tmp_path, it.provider, clock=it.clock)
    done = it.provider.changes()
    async with Running(*again.loops()):
        await again.reaches("Converged")
        await again.never(lambda: again.outbox.records or again.provider.changes() != done)
        before, after = it.site.board.status, again.site.board.status
        assert before is not None
        assert after is not None
        assert after.sequence >= before.sequence
    again.close()
