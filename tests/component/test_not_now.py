"""Not now: files, commands and sockets that are real, good and bad, and how long they are heard."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.control import planned
from holdfast_edge.core.deferral import Ask, NotNow, ask_of
from holdfast_edge.reconcile import questions
from holdfast_edge.reconcile.lookout import Lookout
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Target
from support.builders import a_target, file_body
from support.clock import FakeClock, Running, eventually
from support.files import script
from support.site import TestSite

pytestmark = pytest.mark.anyio


KEY = ResourceKey("File/a")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


def busy(how: str, generation: int = 1, **annotations: str) -> Target:
    body = file_body("a", "/srv/a")
    more = {f"holdfast.io/not-now-{name.replace('_', '-')}": value for name, value in annotations.items()}
    body["metadata"]["annotations"] = {"holdfast.io/not-now": how, **more}
    return a_target(body, generation=generation)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path, clock=FakeClock(wall=NOON))
    yield site
    site.close()


async def until_refused(it: TestSite) -> str:
    def message() -> str:
        status = it.site.board.status
        found = status.resources if status is not None else ()
        return next((each.condition.message for each in found if each.condition.reason == "NotNow"), "")

    return str(await eventually(lambda: "heard" in message() and message()))


async def test_a_file_keeps_a_workload_as_it_is_until_it_is_gone(it: TestSite, tmp_path: Path) -> None:
    flag = tmp_path / "busy"
    flag.write_text("part 7 of 12\nmore")
    async with Running(*it.loops()):
        await it.give(busy(f"file:{flag}", at_most="30m"))
        assert "part 7 of 12 (heard for 30m at most)" in await until_refused(it)
        (row,) = planned(await it.site.fresh_view(), it.site)
        assert (row["when"], "part 7 of 12" in row["why"]) == ("waiting", True)
        await it.passes(11)
        await it.never(lambda: it.provider.changes())
        flag.unlink()
        await it.passes(11)
        await it.reaches("Converged")


async def test_after_its_time_the_change_goes_ahead(it: TestSite, tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    async with Running(*it.loops()):
        await it.give(busy(f"file:{tmp_path / 'busy'}", at_most="1m"))
        await until_refused(it)
        for _ in range(6):
            await it.passes(11)
            await it.site.fresh_view()
        await it.reaches("Converged")


async def test_or_it_alarms_once_and_waits_on(it: TestSite, tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    async with Running(*it.loops()):
        await it.give(busy(f"file:{tmp_path / 'busy'}", at_most="1m", then="alert"))
        await until_refused(it)
        for _ in range(8):
            await it.passes(11)
            await it.site.fresh_view()
        said = await eventually(lambda: [r.body for _, r in it.outbox.records if r.kind == "Alarm"])
        assert [each["reason"] for each in said] == ["NotNowTooLong"]
        assert not it.provider.changes()


async def test_the_limit_of_the_machine_holds_and_outlasts_a_restart(tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    limited = NotNow(folder="", at_most_s=600)
    first = TestSite(tmp_path, clock=FakeClock(wall=NOON), not_now=limited)
    async with Running(*first.loops()):
        await first.give(busy(f"file:{tmp_path / 'busy'}", at_most="9d"))
        assert "heard for 10m at most" in await until_refused(first)
    first.close()
    second = TestSite(tmp_path, clock=FakeClock(wall=NOON + 601, boottime=3.0), boot="next", not_now=limited)
    try:
        async with Running(*second.loops()):
            await second.reaches("Converged")
    finally:
        second.close()


async def test_a_person_s_file_in_the_folder_holds_back_everything_or_what_it_names(
    it: TestSite, tmp_path: Path
) -> None:
    folder = tmp_path / "not-now"
    folder.mkdir()
    (folder / "ann").write_text("audit in hall 2\nFile/a\n")
    async with Running(*it.loops()):
        await it.give(a_target(file_body("a", "/srv/a"), file_body("b", "/srv/b")))
        assert "audit in hall 2" in await until_refused(it)
        await eventually(lambda: "File/b" in it.provider.world)
        (folder / "ann").unlink()
        await it.passes(11)
        await it.reaches("Converged")


async def test_a_file_whose_name_is_no_text_holds_back_and_ends_nothing(it: TestSite, tmp_path: Path) -> None:
    (tmp_path / "not-now").mkdir()
    note = os.fsencode(tmp_path / "not-now") + b"/caf\xe9"
    Path(os.fsdecode(note)).touch()
    async with Running(*it.loops()):
        await it.give(a_target(file_body("a", "/srv/a")))
        assert "caf? is there" in await until_refused(it)
        os.unlink(note)
        await it.passes(11)
        await it.reaches("Converged")


async def test_a_folder_full_of_traps_is_read_in_no_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/shadow")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (tmp_path / "odd").write_bytes(b"\xff\xfe\n")
    for number in range(100):
        (tmp_path / f"z{number:03}").touch()
    notes = await anyio.to_thread.run_sync(questions.read_notes, tmp_path)
    assert len(notes) == questions.MAX_NOTES
    assert {"pipe is there", "link is there"} <= {note.reason for note in notes}
    assert max(len(note.reason) for note in notes) <= 200
    assert questions.read_notes(tmp_path / "absent") == ()


async def test_a_slow_answer_holds_up_nothing_else(tmp_path: Path) -> None:
    slow = script(tmp_path / "slow", "sleep 1000")
    it = TestSite(tmp_path, clock=FakeClock(wall=NOON), not_now=NotNow(folder="", commands=(slow,), ask_within_s=1.0))
    asked = busy(f'exec:["{slow}"]').content.resources[0].body
    try:
        async with Running(*it.loops()):
            await it.give(a_target(asked, file_body("b", "/srv/b")))
            await eventually(lambda: "File/b" in it.provider.world)
            assert "no answer within 1 s" in await until_refused(it)
            await it.never(lambda: "File/a" in it.provider.world)
    finally:
        it.close()


@pytest.mark.parametrize(
    "text",
    [
        "perhaps",
        "file:relative",
        "file:/a/../b",
        "exec:/usr/bin/true",
        'exec:["true"]',
        "exec:[]",
        'exec:["/bin/x", 3]',
        "socket:/etc/passwd",
        "x" * 5000,
    ],
)
def test_an_annotation_that_cannot_be_understood_is_refused(text: str) -> None:
    body: dict[str, Any] = {"metadata": {"annotations": {"holdfast.io/not-now": text}}}
    with pytest.raises(WireError) as refused:
        ask_of(body, 60.0)
    assert refused.value.reason in ("InvalidAnnotation", "InvalidSpec")


def test_whom_to_ask_is_read_with_its_limits() -> None:
    def asked(**annotations: str) -> Ask | None:
        return ask_of({"metadata": {"annotations": {f"holdfast.io/{k}": v for k, v in annotations.items()}}}, 60.0)

    assert asked() is None
    assert asked(**{"not-now": 'exec:["/bin/ask", "--now; rm"]'}) == Ask("exec", ("/bin/ask", "--now; rm"), 60.0)
    assert asked(**{"not-now": "file:/run/x", "not-now-at-most": "10s"}) == Ask("file", ("/run/x",), 10.0)
    assert asked(**{"not-now": "socket:/run/x", "not-now-then": "alert"}) == Ask("socket", ("/run/x",), 60.0, "alert")


def test_a_note_too_long_to_be_read_whole_is_about_everything(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("r\nFile/a\n")
    (tmp_path / "many").write_text("\n".join(["r", *(f"File/{number}" for number in range(101))]))
    (tmp_path / "wide").write_text("\n".join(["r", *("File/" + "é" * 50 for _ in range(50))]))
    found = {note.name: note for note in questions.read_notes(tmp_path)}
    assert found["short"].resources == ("File/a",)
    assert [found[name].resources for name in ("many", "wide")] == [(), ()]


def test_more_notes_than_are_read_say_not_now_to_everything(tmp_path: Path) -> None:
    for number in range(65):
        (tmp_path / f"note-{number:03}").write_text("r\nFile/a\n")
    last = questions.read_notes(tmp_path)[-1]
    assert (last.resources, "64" in last.reason) == ((), True)


def test_a_pipe_or_a_device_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really, opened = os.open, []

    def noted(path: str | Path, flags: int, *more: int, **where: int) -> int:
        if not flags & os.O_PATH:
            opened.append(str(path))
        return really(path, flags, *more, **where)

    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "open", noted)
    assert [note.reason for note in questions.read_notes(tmp_path)] == ["pipe is there"]
    assert opened == []


class Hanging:
    """A place whose looks end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.answers = threading.Event()

    def look(self, path: object) -> str:
        self.begun.append(path)
        self.answers.wait(60)
        return ""


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    place = Hanging()
    monkeypatch.setattr(questions, "_seen", place.look)
    yield place
    place.answers.set()


async def test_a_file_on_a_dead_share_keeps_one_thread_however_often_it_is_asked(hanging: Hanging) -> None:
    lookout, ask = Lookout(), Ask("file", ("/mnt/dead/busy",), 60.0)
    for _ in range(3):
        said = await questions.put(ask, KEY, within=0.05, commands=[], lookout=lookout)
        assert said == "no answer within 0.05 s: /mnt/dead/busy"
    assert len(hanging.begun) == 1
    hanging.answers.set()
    assert await questions.put(ask, KEY, within=60.0, commands=[], lookout=lookout) == ""


def test_a_file_on_a_dead_share_holds_up_no_stop(hanging: Hanging) -> None:
    async def ask() -> str:
        return await questions.put(
            Ask("file", ("/mnt/dead/busy",), 60.0), KEY, within=0.05, commands=[], lookout=Lookout()
        )

    assert "no answer" in anyio.run(ask)
    looking = [thread for thread in threading.enumerate() if "/mnt/dead/busy" in thread.name]
    assert [thread.daemon for thread in looking] == [True]


async def test_a_folder_of_notes_on_a_dead_share_holds_back_changes_and_not_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(questions, "read_notes", lambda folder: (answers.wait(60), ())[1])
    it = TestSite(tmp_path, clock=FakeClock(wall=NOON), not_now=NotNow(folder="/mnt/dead", ask_within_s=0.05))
    try:
        async with Running(*it.loops()):
            await it.give(a_target(file_body("a", "/srv/a")))
            assert "no answer within 0.05 s: /mnt/dead" in await until_refused(it)
            answers.set()
            await it.passes(11)
            await it.reaches("Converged")
    finally:
        answers.set()
        it.close()
