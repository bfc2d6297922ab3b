"""What must be on the disk before the ledger forgets: a power cut between two calls leaves nothing of ours unknown."""

import os
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.folders import OwnedFolders
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.owned import Owned
from holdfast_protocol.wire.names import ResourceKey

KEY = ResourceKey("File/a")


class Calls:
    """Every call that changes a name or makes changes durable, in order, with the folder it was for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, int]] = []
        for name in ("rmdir", "mkdir", "unlink", "rename", "fsync", "chmod"):
            monkeypatch.setattr(os, name, self._seen(name, getattr(os, name)))

    def _seen(self, name: str, call: Any) -> Any:
        def recorded(*given: Any, **named: Any) -> Any:
            folder = named.get("dir_fd", named.get("dst_dir_fd", given[0] if name == "fsync" else -1))
            inode = os.fstat(folder).st_ino if isinstance(folder, int) and folder >= 0 else 0
            done = call(*given, **named)
            self.made.append((name, inode))
            return done

        return recorded

    def after(self, name: str) -> list[tuple[str, int]]:
        """Return the calls from the first of this name on."""
        first = next(n for n, (each, _) in enumerate(self.made) if each == name)
        return self.made[first:]


def test_a_folder_we_made_is_durably_gone_before_the_ledger_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "srv"
    root.mkdir()
    ledger = Ledger(tmp_path / "state" / "files")
    owned = Owned(ledger, Roots([root], []))
    owned.put(KEY, str(root / "made/file"), b"x")
    calls = Calls(monkeypatch)
    owned.take_away(str(root / "made/file"))
    rest = calls.after("rmdir")
    assert rest[0][0] == "rmdir"
    assert rest[1] == ("fsync", rest[0][1])
    assert rest[2][0] == "unlink"
    assert ledger.entries == {}


def test_a_folder_has_its_mode_back_on_the_disk_before_the_ledger_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "srv"
    (root / "there").mkdir(parents=True)
    (root / "there").chmod(0o750)
    owned = OwnedFolders(Ledger(tmp_path / "state"), Roots([root], []))
    owned.put(KEY, str(root / "there"), mode=0o700)
    calls = Calls(monkeypatch)
    owned.take_away(str(root / "there"))
    assert (root / "there").stat().st_mode & 0o777 == 0o750
    rest = calls.after("chmod")
    assert rest[1] == ("fsync", (root / "there").stat().st_ino)
    assert [name for name, _ in rest].index("fsync") < [name for name, _ in rest].index("unlink")


def test_the_ledgers_own_folder_is_durable_before_its_first_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    assert Ledger(tmp_path / "state" / "files").entries == {}
    assert [name for name, _ in calls.made] == ["mkdir", "fsync", "mkdir", "fsync"]
    assert [inode for name, inode in calls.made if name == "fsync"] == [
        tmp_path.stat().st_ino,
        (tmp_path / "state").stat().st_ino,
    ]
