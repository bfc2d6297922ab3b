"""The folders of claims through a kill: whatever was begun is finished by the next."""

import stat
from pathlib import Path

import pytest

from holdfast_edge.providers.container import claims
from holdfast_edge.providers.container.claims import Deed
from holdfast_protocol.wire.names import ResourceKey

DEED = Deed(ResourceKey("PersistentVolumeClaim/db"), 1024)


class Killed(BaseException):
    """As a signal: no handler of errors sees it."""


def test_a_folder_whose_making_was_cut_off_is_open_to_its_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    folder = tmp_path / "claims/_/db"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", killed)
        with pytest.raises(Killed):
            claims.make(folder, DEED)
    claims.make(folder, DEED)
    assert stat.S_IMODE((folder / "data").stat().st_mode) == claims.MODE
    assert sorted(each.name for each in folder.iterdir()) == ["data", "deed.json"]


def test_what_its_containers_made_of_a_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "claims/_/db"
    claims.make(folder, DEED)
    (folder / "data").chmod(0o700)
    (folder / "data/rows").write_text("1")
    claims.make(folder, DEED)
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    assert (folder / "data/rows").read_text() == "1"
