"""Holds on disk whose end cannot be written: over all the same, and no reason to look again at once."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.core.holds import Moment
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.holds import Holds
from holdfast_protocol.errors import TransientError

pytestmark = pytest.mark.anyio


async def test_one_whose_end_the_disk_does_not_take_yet_keeps_the_loop_from_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*given: Any) -> None:
        raise TransientError("full", reason="DiskFull")

    database = open_edge(tmp_path).database
    holds = Holds(database)
    await holds.make(reason="r", seconds=60, resources=(), by="", now=Moment(1000.0, 10.0, "boot"))
    later = Moment(1061.0, 71.0, "boot")
    monkeypatch.setattr(database, "call", refused)
    with pytest.raises(TransientError):
        await holds.expire(later)
    assert not holds.active(later)
    assert holds.next_end(later) is None
    database.close()
