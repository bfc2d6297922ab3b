"""Slots of the agent's versions: what is unpacked is what was asked for, and the way back stays while one is on trial."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge import launcher
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.version import slots as slots_module
from holdfast_edge.providers.version.provider import AgentVersionProvider
from holdfast_edge.providers.version.slots import Slots
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target

pytestmark = pytest.mark.anyio


@pytest.fixture
def slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slots:
    """Slots whose versions say which they are by a file."""
    monkeypatch.setattr(slots_module, "_said", lambda library: (library / "version").read_text())
    made = Slots(tmp_path / "slots")
    made.make("1.0")
    return made


def wheels(folder: Path, version: str) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"holdfast_edge-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("version", version)
    return folder


def test_wheels_unpacked_before_are_refused_under_another_version(slots: Slots, tmp_path: Path) -> None:
    found = wheels(tmp_path / "wheels", "2.0")
    assert slots.install(found, "2.0") == slots.install(found, "2.0")
    with pytest.raises(PermanentError, match=r"of version 2\.0, not 3\.0"):
        slots.install(found, "3.0")


@pytest.mark.invariant("agent-is-never-its-own-casualty")
async def test_the_slot_to_go_back_to_is_not_touched_while_a_version_is_on_trial(slots: Slots, tmp_path: Path) -> None:
    slots.install(wheels(tmp_path / "wheels", "2.0"), "2.0")
    slots.switch({"id": "x", "from": "a", "to": "b", "version": "2.0", "digest": "", "within": 60, "tries": 0})
    body = {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "AgentVersion",
        "metadata": {"name": "agent"},
        "spec": {"version": "3.0", "wheels": str(wheels(tmp_path / "newer", "3.0"))},
    }
    wanted = target.resource(body)
    provider = AgentVersionProvider(state=tmp_path, started_from=str(slots.folder))
    with pytest.raises(TransientError, match="on trial"):
        await provider.prepare(wanted, Scope({wanted.key: wanted}))
    assert launcher.read(str(slots.folder / "a" / "slot.json"))["version"] == "1.0"


def test_the_copies_made_for_the_way_back_are_for_nobody_else(slots: Slots, tmp_path: Path) -> None:
    database = tmp_path / "edge.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE secrets (value)")
    connection.close()
    before = os.umask(0o022)
    try:
        slots.back_up(tmp_path)
        slots.back_up(tmp_path)
    finally:
        os.umask(before)
    copy = slots.folder / "before" / "edge.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("secrets",)]
    connection.close()


def test_a_full_disk_while_unpacking_is_no_fault_of_the_wheels(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    found = wheels(tmp_path / "wheels", "2.0")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", full)
        with pytest.raises(TransientError) as caught:
            slots.install(found, "2.0")
    assert caught.value.reason == "DiskFull"
    slots.install(found, "2.0")


def test_a_version_that_does_not_answer_in_time_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*words: Any, **named: Any) -> None:
        raise subprocess.TimeoutExpired("python", 120)

    made = Slots(tmp_path / "slots")
    made.make("1.0")
    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(TransientError):
        made.install(wheels(tmp_path / "wheels", "2.0"), "2.0")


def schema_of(path: Path, number: int | None = None) -> int:
    """Return the number of a database's schema, after setting it when one is given."""
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        if number is not None:
            connection.execute(f"PRAGMA user_version={number}")
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_every_database_a_new_version_changed_comes_back_with_the_old_one(slots: Slots, tmp_path: Path) -> None:
    """The old version starts with none it does not know."""
    names = ("edge.db", "outbox.db", "orders.db", "bridges/cloud.db")
    for name in names:
        schema_of(tmp_path / name, 1)
    slots.back_up(tmp_path)
    (tmp_path / "bridges/cloud.db").rename(tmp_path / "bridges/plant.db")
    slots.back_up(tmp_path)
    for name in ("edge.db", "outbox.db", "orders.db", "bridges/plant.db"):
        schema_of(tmp_path / name, 2)
    pending = {"id": "x", "from": "a", "to": "b", "version": "2.0", "digest": "", "within": 60, "tries": 0}
    slots.switch(pending)
    launcher.fall_back(str(slots.folder), pending, "it was not healthy")
    assert slots.current == "a"
    for name in ("edge.db", "outbox.db", "orders.db", "bridges/plant.db"):
        assert schema_of(tmp_path / name) == 1, name
    assert not (tmp_path / "bridges/cloud.db").exists(), "what was copied for an earlier upgrade is of no use"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_a_version_is_on_the_disk_before_it_can_be_started(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is kept a moment later and lost with the power leaves nothing that starts."""
    synced: set[int] = set()
    real = os.fsync

    def noted(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        real(handle)

    found = wheels(tmp_path / "wheels", "2.0")
    with zipfile.ZipFile(found / "other-2.0-py3-none-any.whl", "w") as archive:
        archive.writestr("package/deep/module.py", "x = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        slots.install(found, "2.0")
    library = slots.folder / "b" / "lib"
    unsynced = [str(each) for each in (library, *library.rglob("*")) if each.stat().st_ino not in synced]
    assert unsynced == []


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_a_version_on_trial_that_is_started_again_has_its_guard_again(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of before went with the power: without one a version that never is healthy would stay for ever."""
    armed: list[list[str]] = []

    def run(words: list[str], **named: Any) -> Any:
        armed.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(launcher.subprocess, "run", run)
    pending = {"id": "abc", "from": "a", "to": "b", "version": "2.0", "digest": "", "within": 60, "tries": 0}
    slots.switch(pending)
    launcher.count_start(str(slots.folder))
    assert armed == [], "its first start has the one of the switch"
    launcher.count_start(str(slots.folder))
    [words] = armed
    assert words[0] == "systemd-run"
    assert "--on-active=60s" in words
    assert words[-2:] == ["fall-back", "abc"]
    assert words[-3] == str(slots.folder / "launch.py")


def test_what_was_unpacked_is_on_the_disk_before_the_slot_says_so(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def seen(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    slots.install(wheels(tmp_path / "wheels", "2.0"), "2.0")
    library = str(slots.folder / "b/lib")
    said = synced.index(str(slots.folder / "b/slot.json.new"))
    assert {f"{library}/version", library} <= set(synced[:said])


@pytest.mark.parametrize("loose", ["wheels", "wheel", "above"])
def test_wheels_that_others_may_change_are_not_installed(slots: Slots, tmp_path: Path, loose: str) -> None:
    above = tmp_path / "above"
    above.mkdir()
    found = wheels(above / "wheels", "2.0")
    {"wheels": found, "wheel": next(found.iterdir()), "above": above}[loose].chmod(0o777)
    with pytest.raises(PermanentError, match="may be changed by others"):
        slots.install(found, "2.0")


PENDING = {"id": "x", "from": "a", "to": "b", "version": "2.0", "digest": "", "within": 60, "tries": 0}


class Killed(BaseException):
    """As a signal: no handler of errors sees it."""


def killed_at(patch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Have everything end right after that call of the launcher's function."""
    really, calls = getattr(launcher, name), [0]

    def function(*words: Any) -> Any:
        done = really(*words)
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return done

    patch.setattr(launcher, name, function)


def rows(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [each for (each,) in connection.execute("SELECT name FROM things ORDER BY name")]
    finally:
        connection.close()


def changed_by_the_new_version(tmp_path: Path, slots: Slots) -> None:
    """Leave a database whose newer schema stands in its log alone, as a version leaves it that was killed."""
    database = tmp_path / "edge.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript("CREATE TABLE things (name); INSERT INTO things VALUES ('old'); PRAGMA user_version=1")
    slots.back_up(tmp_path)
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("INSERT INTO things VALUES ('new'); PRAGMA user_version=2")
        (tmp_path / "kept").write_bytes(database.read_bytes())
        (tmp_path / "kept-wal").write_bytes((tmp_path / "edge.db-wal").read_bytes())
    (tmp_path / "kept").replace(database)
    (tmp_path / "kept-wal").replace(tmp_path / "edge.db-wal")


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    ("name", "call"),
    [("write", 1), ("write", 2), ("schema", 2), ("remove", 2), ("remove", 3), ("synced", 4), ("point", 1)],
)
def test_a_way_back_that_was_cut_off_is_gone_to_its_end_at_the_next_start(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    changed_by_the_new_version(tmp_path, slots)
    slots.switch(PENDING)
    with monkeypatch.context() as patch:
        killed_at(patch, name, call)
        with pytest.raises(Killed):
            launcher.fall_back(str(slots.folder), PENDING, "it was not healthy")
    if name == "write" and call == 1:  # nothing had begun: it is tried again, and its guard goes back
        launcher.fall_back(str(slots.folder), slots.pending, "it was not healthy")
    else:
        launcher.count_start(str(slots.folder))
    assert slots.current == "a"
    assert slots.pending == {}
    assert (schema_of(tmp_path / "edge.db"), rows(tmp_path / "edge.db")) == (1, ["old"])
    assert [path.name for path in tmp_path.glob("*.back*")] == []


def test_a_copy_that_an_earlier_way_back_left_is_not_put_in_place(slots: Slots, tmp_path: Path) -> None:
    changed_by_the_new_version(tmp_path, slots)
    (tmp_path / "edge.db.back").write_bytes(b"of another year")
    slots.switch(PENDING)
    launcher.fall_back(str(slots.folder), PENDING, "it was not healthy")
    assert (schema_of(tmp_path / "edge.db"), rows(tmp_path / "edge.db")) == (1, ["old"])


def test_the_launcher_is_on_the_disk_before_a_unit_can_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def seen(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    made = Slots(tmp_path / "slots")
    made.make("1.0")
    assert {str(tmp_path), str(made.folder), str(made.folder / "launch.py")} <= set(synced)


def test_a_version_whose_folder_was_half_taken_away_is_unpacked_again(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = wheels(tmp_path / "wheels", "2.0"), wheels(tmp_path / "newer", "3.0")
    slots.install(old, "2.0")

    def cut(folder: Path, **named: Any) -> None:
        (folder / "lib/version").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut)
        with pytest.raises(Killed):
            slots.install(new, "3.0")
    slots.install(old, "2.0")
    assert (slots.folder / "b/lib/version").read_text() == "2.0"
