"""Notices that nobody takes: no more than some are kept, and what goes is counted in their place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_edge.store import notices
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.notices import Notices
from holdfast_protocol.runtime.sqlite import Database

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("every-loss-is-counted")]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_edge(tmp_path).database
    yield opened
    opened.close()


async def test_notices_are_bounded_and_the_dropped_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "KEPT", 10)
    held = Notices(database)
    for number in range(25):
        await held.add("Audit", at=number, body={"what": str(number)})
    first, *rest = [record for _, record in await held.waiting()]
    assert [each.body["what"] for each in rest] == [str(number) for number in range(16, 25)]
    assert (first.kind, first.body["reason"], first.body["count"]) == ("Alarm", "NoticesDropped", 16)


async def test_what_was_taken_makes_room_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "KEPT", 10)
    held = Notices(database)
    for turn in range(5):
        for number in range(8):
            await held.add("Audit", at=number, body={"what": f"{turn}.{number}"})
        waiting = await held.waiting()
        assert [record.body["what"] for _, record in waiting] == [f"{turn}.{number}" for number in range(8)]
        await held.forget([number for number, _ in waiting])
