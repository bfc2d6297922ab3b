"""SSH keys in a folder that its user may change at any moment: nothing of anybody else's becomes the user's."""

import os
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.people.keys import SSHKeyProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire import target

pytestmark = [pytest.mark.anyio, pytest.mark.root]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada"
ADA = 4001
BODY = {
    "apiVersion": "holdfast.io/v1alpha1",
    "kind": "SSHKey",
    "metadata": {"name": "ada"},
    "spec": {"user": "ada", "keys": [KEY]},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home, etc = tmp_path / "home", tmp_path / "etc"
    home.mkdir()
    os.chown(home, ADA, ADA)
    etc.mkdir()
    (etc / "passwd").write_text(f"ada:x:{ADA}:{ADA}::{home}:/bin/sh\n")
    (etc / "shadow").write_text("ada:!:1::::::\n")
    (etc / "group").write_text(f"ada:x:{ADA}:\n")
    return home


async def test_the_folder_of_keys_becomes_its_users(home: Path, tmp_path: Path) -> None:
    provider = SSHKeyProvider(state=tmp_path / "state", etc=tmp_path / "etc")
    await provider.apply(target.resource(BODY), Scope(resources={}))
    assert (home / ".ssh").stat().st_uid == ADA
    assert KEY.split()[1] in (home / ".ssh/authorized_keys").read_text()


async def test_a_folder_put_in_the_place_of_the_one_just_made_is_not_given_away(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kept-by-root").mkdir(mode=0o700)
    (home / "kept-by-root/secret").write_text("s")
    mkdir = os.mkdir

    def swapped(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        if path == ".ssh":  # its user is quick
            (home / ".ssh").rename(home / "elsewhere")
            (home / "kept-by-root").rename(home / ".ssh")

    provider = SSHKeyProvider(state=tmp_path / "state", etc=tmp_path / "etc")
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", swapped)
        with pytest.raises(PermanentError, match=r"\.ssh"):
            await provider.apply(target.resource(BODY), Scope(resources={}))
    assert (home / ".ssh").stat().st_uid == 0
    assert (home / ".ssh/secret").stat().st_uid == 0


async def test_lines_of_ours_leave_the_file_of_a_home_that_is_no_longer_the_users(home: Path, tmp_path: Path) -> None:
    provider = SSHKeyProvider(state=tmp_path / "state", etc=tmp_path / "etc")
    await provider.apply(target.resource(BODY), Scope(resources={}))
    old = home / ".ssh/authorized_keys"
    old.write_text("ssh-ed25519 hers\n" + old.read_text())
    newer = tmp_path / "newer"
    newer.mkdir()
    os.chown(newer, ADA, ADA)
    (tmp_path / "etc/passwd").write_text(f"ada:x:{ADA}:{ADA}::{newer}:/bin/sh\n")
    await provider.apply(target.resource(BODY), Scope(resources={}))
    assert KEY.split()[1] in (newer / ".ssh/authorized_keys").read_text()
    assert old.read_text() == "ssh-ed25519 hers\n"
    assert old.stat().st_uid == ADA
