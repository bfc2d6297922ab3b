"""A target is a transaction: prepared, applied, verified, or gone back from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_protocol.errors import PermanentError, TransientError, UnsupportedError
from holdfast_protocol.wire.drift import Rule
from support.builders import a_target
from support.clock import Running, eventually
from support.site import TestSite
from support.transactions import DENIED, GOOD, NEW, NEWER, at, files, passes_until, progress, settle, world

pytestmark = pytest.mark.anyio


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path)
    yield site
    site.close()


BUSY = TransientError("busy", reason="Busy")


async def test_the_old_target_is_held_and_repaired_while_the_new_one_is_prepared(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.prepare_gate = anyio.Event()
        await it.give(NEW)
        await at(it, "preparing", 2)
        assert it.condition("File/a") == ("Waiting", "Preparing")
        assert it.condition("File/b") == ("Ready", "AsWanted")
        del it.provider.world["File/a"]
        it.provider.tell()
        await eventually(lambda: world(it) == {"File/a": "1", "File/b": "1"})
        await it.never(lambda: world(it) != {"File/a": "1", "File/b": "1"})
        assert progress(it).held == 1
        it.provider.prepare_gate.set()
        await it.reaches("Converged", 2)
        assert world(it) == {"File/a": "2", "File/c": "2"}
        assert it.provider.prepared == ["File/a", "File/c"]


async def test_only_what_changed_is_prepared(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        await it.give(files(2, a="1", b="2"))
        await it.reaches("Converged", 2)
    assert it.provider.prepared == ["File/b"]


@pytest.mark.parametrize("by", ["check", "prepare"])
async def test_what_can_never_be_rejects_the_whole_target_before_any_change(it: TestSite, by: str) -> None:
    async with Running(*it.loops()):
        await settle(it)
        done = it.provider.changes()
        if by == "check":
            it.provider.refuses["File/c"] = DENIED
        else:
            it.provider.unprepared["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rejected", 2)
        await it.reaches("Degraded", 2)
        assert it.condition("File/c") == ("Failed", "Denied")
        assert it.condition("File/a") == ("Degraded", "Rejected")
        await it.passes(3600)
        await it.never(lambda: it.provider.changes() != done)
        await eventually(lambda: it.outbox.said()[-2:] == ["A1 received", "A2 rejected"])
        body = it.outbox.records[-1][1].body
        assert (body["phase"], body["resource"], body["reason"], body["hint"]) == (
            "prepare",
            "File/c",
            "Denied",
            "allow it",
        )
        assert progress(it).bad == (NEW.digest,)


async def test_what_does_not_work_yet_is_prepared_again_until_it_does(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.unprepared["File/c"] = [BUSY, BUSY]
        await it.give(NEW)
        await eventually(lambda: it.site.preparer.tried().trouble)
        await it.passes(1)
        await eventually(lambda: it.provider.prepared.count("File/c") == 2)
        await it.passes(2)
        await it.reaches("Converged", 2)


async def test_what_is_not_prepared_in_time_is_rejected(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.unprepared["File/c"] = [BUSY] * 1000
        await it.give(NEW)
        await at(it, "preparing", 2)
        await passes_until(it, "rejected")
        assert progress(it).cause is not None
        assert world(it) == {"File/a": "1", "File/b": "1"}


@pytest.mark.invariant("unknown-kind-is-kept-not-fatal")
async def test_what_is_unsupported_here_holds_up_nothing_and_the_rest_is_last_good(it: TestSite) -> None:
    it.provider.refuses["File/x"] = UnsupportedError("never here", reason="NoEngine")
    async with Running(*it.loops()):
        await settle(it)
        both = files(2, a="2", x="2")
        await it.give(both)
        await at(it, "verifying", 2)
        await it.passes(60)
        await eventually(lambda: it.site.targets.last_good == both.digest)
        assert it.condition("File/x") == ("Unsupported", "NoEngine")


async def test_a_failed_change_is_gone_back_from_whole_and_not_tried_again(it: TestSite, tmp_path: Path) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rolled-back", 2)
        assert world(it) == {"File/a": "1", "File/b": "1"}
        assert it.site.owned.things.keys() == {"File/a", "File/b"}
        assert it.condition("File/c") == ("Failed", "Denied")
        assert it.condition("File/b") == ("Ready", "AsWanted")
        await eventually(lambda: it.outbox.said()[-1:] == ["A3 rolled-back"])
        done = it.provider.changes()
        await it.passes(3600)
        await it.never(lambda: it.provider.changes() != done)
        said = progress(it)
        assert (said.held, said.last_good, said.bad) == (1, 1, (NEW.digest,))
        assert "holdfast-edge retry" in said.next
        status = it.site.board.status
        assert status is not None
        assert status.observed_digest not in (status.digest, GOOD.digest)


async def test_drift_is_still_repaired_after_going_back(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rolled-back", 2)
        del it.provider.world["File/a"]
        it.provider.tell()
        await eventually(lambda: world(it) == {"File/a": "1", "File/b": "1"})
        assert progress(it).phase == "rolled-back"


async def test_what_never_gets_ready_is_gone_back_from_at_its_deadline(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.unready["File/c"] = "progressing"
        await it.give(NEW)
        await eventually(lambda: "File/c" in it.provider.world)
        await at(it, "applying", 2)
        await it.passes(60)
        await it.never(lambda: world(it) != {"File/a": "2", "File/c": "2"})
        await passes_until(it, "rolled-back")
        cause = progress(it).cause
        assert cause is not None
        assert (cause.phase, cause.resource, cause.reason) == ("readiness", "File/c", "NotReady")
        assert world(it) == {"File/a": "1", "File/b": "1"}


async def test_what_breaks_during_the_soak_is_gone_back_from(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        await it.give(NEW)
        await at(it, "verifying", 2)
        it.provider.unready["File/c"] = "degraded"
        it.provider.tell()
        await passes_until(it, "rolled-back")


async def test_a_trouble_that_passes_before_the_deadline_is_not_gone_back_from(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [BUSY] * 3
        await it.give(NEW)
        await passes_until(it, "stable")
        assert world(it) == {"File/a": "2", "File/c": "2"}


async def test_the_first_target_has_nothing_to_go_back_to_and_is_tried_on(it: TestSite) -> None:
    it.provider.fails["File/a"] = [DENIED]
    async with Running(*it.loops()):
        await it.give(GOOD)
        await at(it, "degraded", 1)
        assert world(it) == {"File/b": "1"}
        await it.passes(301)
        await it.reaches("Converged")


async def test_when_going_back_fails_both_causes_are_said_and_it_is_tried_on(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]

        def trap(verb: str, key: str) -> None:
            if key == "File/c":
                it.provider.fails["File/a"] = [PermanentError("worn out", reason="Broken")]

        it.provider.before_effect = trap
        await it.give(NEW)
        await at(it, "stuck", 2)
        said = progress(it)
        assert said.cause is not None
        assert said.second is not None
        assert (said.cause.reason, said.second.reason) == ("Denied", "Broken")
        await eventually(lambda: it.outbox.said()[-1:] == ["A3 rolled-back"])
        assert "Broken: worn out" in it.outbox.records[-1][1].body["message"]
        await it.passes(301)
        await at(it, "rolled-back", 2)
        assert world(it) == {"File/a": "1", "File/b": "1"}


@pytest.mark.invariant("newer-target-cancels-retries")
@pytest.mark.parametrize("stage", ["preparing", "applying", "rolling-back", "stuck", "rolled-back", "rejected"])
async def test_a_newer_target_is_taken_up_at_any_stage_of_an_older_one(it: TestSite, stage: str) -> None:
    async with Running(*it.loops()):
        await settle(it)
        match stage:
            case "preparing":
                it.provider.prepare_gate = anyio.Event()
            case "applying":
                it.provider.fails["File/c"] = [BUSY] * 10
            case "rolling-back":
                it.provider.fails["File/c"] = [DENIED, BUSY, BUSY]
                it.provider.fails["File/a"] = [TransientError("busy")]
            case "stuck":
                it.provider.fails["File/c"] = [DENIED]
                it.provider.before_effect = lambda verb, key: (
                    it.provider.fails.update({"File/a": [DENIED]}) if key == "File/c" else None
                )
            case "rolled-back":
                it.provider.fails["File/c"] = [DENIED]
            case "rejected":
                it.provider.refuses["File/c"] = DENIED
        await it.give(NEW)
        if stage == "rolling-back":
            await eventually(lambda: it.site.transactions.current.stage in ("rolling-back", "rolled-back"))  # type: ignore[union-attr]
        else:
            await at(it, stage, 2)
        it.provider.prepare_gate = None
        it.provider.before_effect = lambda verb, key: None
        it.provider.fails.clear()
        it.provider.refuses.clear()
        await it.give(NEWER)
        await it.reaches("Converged", 3)
        assert world(it) == {"File/a": "3", "File/c": "3"}


async def test_a_person_has_a_target_tried_again(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rolled-back", 2)
        it.site.retry()
        await it.reaches("Converged", 2)
        assert (world(it), progress(it).bad) == ({"File/a": "2", "File/c": "2"}, ())


async def test_the_same_content_said_anew_by_the_hub_is_tried_again(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rolled-back", 2)
        await it.give(files(3, a="2", c="2"))
        await it.reaches("Converged", 3)


async def test_a_look_at_a_stable_site_writes_nothing(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        await eventually(lambda: len(it.outbox.records) == 4)
        await it.passes(30)  # the last report was noted as sent
        with it.database.reading() as connection:
            before = connection.total_changes
        for _ in range(5):
            looks = it.provider.looks
            await it.passes(30)
            await eventually(lambda looks=looks: it.provider.looks > looks)  # type: ignore[misc]
        with it.database.reading() as connection:
            assert connection.total_changes == before


WINDOW: dict[str, Any] = {
    "name": "nights",
    "spec": {"schedule": {"cron": "0 2 * * *", "duration": "2h"}, "gates": ["targets"]},
}


async def test_what_waits_for_its_window_leaves_the_old_target_repaired_until_then(it: TestSite) -> None:
    it.clock.set_wall(1_790_000_000 // 86400 * 86400 + 10 * 3600)  # ten in the morning
    windowed = a_target(
        content=msgspec.structs.replace(
            NEW.content, windows=(WINDOW,), time_zone="UTC", requires=("resources/v1", "windows/v1")
        ),
        generation=2,
    )
    async with Running(*it.loops()):
        await settle(it)
        await it.give(windowed)
        await at(it, "preparing", 2)
        await it.passes(3600)
        del it.provider.world["File/a"]
        it.provider.tell()
        await eventually(lambda: world(it) == {"File/a": "1", "File/b": "1"})
        for _ in range(15):
            await it.passes(3600)
        await it.reaches("Converged", 2)
        assert world(it) == {"File/a": "2", "File/c": "2"}


async def test_only_a_changed_hold_or_window_tries_nothing_again(it: TestSite) -> None:
    async with Running(*it.loops()):
        await settle(it)
        it.provider.fails["File/c"] = [DENIED]
        await it.give(NEW)
        await at(it, "rolled-back", 2)
        done = it.provider.changes()
        other = a_target(
            content=msgspec.structs.replace(
                NEW.content, drift=(Rule("quiet", "report"),), requires=("resources/v1", "drift/v1")
            ),
            generation=3,
        )
        await it.give(other)
        await at(it, "rolled-back", 3)
        await it.never(lambda: it.provider.changes() != done)
