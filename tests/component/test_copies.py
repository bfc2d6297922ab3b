"""Side copies that cannot be read: the database has all of it, and the agent starts."""

from pathlib import Path

import pytest

from holdfast_edge.store import copies
from holdfast_edge.store.trials import Kept, read


@pytest.mark.parametrize("name", [copies.TARGET, copies.LAST_GOOD, copies.TRANSACTION, copies.OWNED, copies.FLOOR])
def test_one_the_disk_does_not_give_is_as_if_there_were_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert copies.read(tmp_path / name, 100) == b""


def test_a_trial_the_disk_does_not_give_is_as_if_there_were_none(tmp_path: Path) -> None:
    (tmp_path / "trial.json").mkdir()
    assert read(tmp_path) == Kept()
