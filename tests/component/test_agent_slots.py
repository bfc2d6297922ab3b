"""Slots of the agent's versions: what is unpacked is what was asked for, and the way back stays while one is on trial."""

import errno
import os
import sqlite3
import stat
import subprocess
import zipfile
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
