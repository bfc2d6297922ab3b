"""Power cuts, overflow, full disks, loss and repetition at once; the long form is `scripts/bench chaos`."""

from pathlib import Path

import pytest

from support.power import cut_power


@pytest.mark.anyio
@pytest.mark.invariant("every-loss-is-counted")
@pytest.mark.invariant("commit-before-ack")
async def test_through_power_cuts_everything_promised_is_stored_or_tombstoned_and_nothing_twice(tmp_path: Path) -> None:
    count = await cut_power(tmp_path, 12, 7)
    assert count["sent"] == count["stored"] + count["tombstoned"]
    assert min(count["sent"], count["stored"], count["tombstoned"], count["full"]) > 0
