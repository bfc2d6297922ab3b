"""What a kill leaves between a half-written file and its end is found and taken away by the next agent."""

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from holdfast_edge.providers.container import claims
from holdfast_edge.providers.container.job_ledger import JobLedger
from holdfast_edge.providers.container.runs import History
from holdfast_edge.providers.disk.ledger import Before, Entry, Ledger
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.scratch import Scratch
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.sshd.provider import SSHPolicyProvider
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.verify import Verifier
from holdfast_protocol.kinds.units import File
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource

KEY = ResourceKey("File/a")


class Killed(BaseException):
    """As a signal: no handler of errors sees it."""


def killed_at(patch: pytest.MonkeyPatch, owner: object, name: str, *, call: int = 1) -> None:
    """Have everything end at that call of a function, what it would clean up on its way included."""
    really, calls = getattr(owner, name), [0]

    def function(*words: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return really(*words, **named)

    patch.setattr(owner, name, function)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("cut", [1, 2])
def test_what_stood_there_before_is_not_kept_for_an_entry_that_was_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, os, "rename", call=cut)
        with pytest.raises(Killed):
            Ledger(tmp_path).put(Entry("/etc/a", KEY, before=Before(mode=0o600)), b"secret")
    assert files(tmp_path), "the kill left something"
    assert Ledger(tmp_path).entries == {}
    assert files(tmp_path) == []


def test_what_stood_there_before_stays_while_its_entry_does_also_a_damaged_one(tmp_path: Path) -> None:
    Ledger(tmp_path).put(Entry("/etc/a", KEY, before=Before(mode=0o600)), b"secret")
    ledger = Ledger(tmp_path)
    assert set(ledger.entries) == {"/etc/a"}
    assert ledger.content_before("/etc/a") == b"secret"
    (entry,) = tmp_path.glob("*.json")
    entry.write_text("{")
    assert Ledger(tmp_path).entries == {}
    assert Ledger(tmp_path).content_before("/etc/a") == b"secret"


KILLED = """
import os, pathlib, sys
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.scratch import Scratch
from holdfast_edge.providers.port import Scope
with Scratch(pathlib.Path(sys.argv[1])).room() as room:
    (room / "sshd_config").write_text("secret")
    os._exit(9)
"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_trial_that_was_cut_off_goes_before_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "sshd/trial"
    assert subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False).returncode == 9
    (left,) = folder.glob("*/sshd_config")
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder.parent, folder, left.parent)] == [0o700] * 3
    used = Scratch(folder)
    with used.room() as room, used.room() as other:
        assert files(folder) == sorted((room.name, other.name))
    assert files(folder) == []


def test_systemd_reads_its_copies_there(tmp_path: Path) -> None:
    (tmp_path / "state/trial/left").mkdir(parents=True)
    program(tmp_path / "bin/systemd-analyze", f'/bin/ls "${{SYSTEMD_UNIT_PATH%:}}" >> {tmp_path}/read')
    home = Home("unix:path=/nowhere", tmp_path / "units", tmp_path, tmp_path / "run")
    verifier = Verifier(home, tmp_path / "state", str(tmp_path / "bin"))
    verifier.verify("a.service", [File("a.service", b"[Service]\n", "")], "1")
    assert (tmp_path / "read").read_text() == "a.service\n"
    assert files(tmp_path / "state") == ["trial"]


@pytest.mark.anyio
async def test_sshd_reads_its_copy_there(tmp_path: Path) -> None:
    (tmp_path / "state/trial/left").mkdir(parents=True)
    program(tmp_path / "bin/sshd", f'/bin/cat "$3" >> {tmp_path}/read; echo passwordauthentication yes')
    programs = Programs(str(tmp_path / "bin"))
    provider = SSHPolicyProvider(allowed=True, state=tmp_path / "state", etc=tmp_path, programs=programs)
    body = {"mode": "enforce", "settings": {"PasswordAuthentication": "yes"}}
    await provider.prepare(policy(body), Scope({}))
    assert "Include" in (tmp_path / "read").read_text()
    assert files(tmp_path / "state") == ["trial"]


def policy(spec: Mapping[str, object]) -> Resource:
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "SSHPolicy", "metadata": {"name": "it"}, "spec": spec}
    return resource(body)


@pytest.mark.parametrize("owner", [os, Path])
def test_the_folder_of_a_claim_goes_with_what_a_kill_left_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object
) -> None:
    folder, deed = tmp_path / "claims/_/db", claims.Deed(KEY, 1024)
    with monkeypatch.context() as patch:
        killed_at(patch, owner, "rename")
        with pytest.raises(Killed):
            claims.make(folder, deed)
    claims.make(folder, deed)
    (folder / claims.FRESH).mkdir()  # as a kill leaves it whose claim is taken away before it is tried again
    with monkeypatch.context() as patch:
        killed_at(patch, os, "rename")
        with pytest.raises(Killed):
            claims.release(folder)
    claims.delete(folder)
    assert not folder.exists()


def test_nothing_is_left_of_a_job_that_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, os, "rename")
        with pytest.raises(Killed):
            JobLedger(tmp_path).write("nightly", History())
    JobLedger(tmp_path).forget("nightly")
    assert files(tmp_path) == []
