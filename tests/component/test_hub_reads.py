"""Questions about what devices said are answered beside ingest: neither waits for the other."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_hub.operations import apply, devices, history, holds, readings, sinks, site_views
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store.reader import Reader
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.device_data import Sender
from support.hubs import add_site, hub_at
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
START = 1_700_000_040_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def drained(pages: AsyncIterator[object]) -> int:
    return len([page async for page in pages])


QUESTIONS: dict[str, Callable[[Hub], Awaitable[object]]] = {
    "readings": lambda hub: readings.readings(hub, readings.Asked()),
    "readings of a site": lambda hub: readings.readings(hub, readings.Asked(site=SITE)),
    "ledger": lambda hub: readings.ledger(hub, SITE),
    "spans": lambda hub: history.reduced(hub, history.Asked(every=60_000)),
    "export": lambda hub: drained(history.pages(hub, history.Exporting())),
    "export of spans": lambda hub: drained(history.spans(hub, history.Exporting(every=60_000))),
    "devices": lambda hub: devices.list_devices(hub, devices.Listing()),
    "device": lambda hub: devices.show_device(hub, SITE, "press"),
    "site": lambda hub: site_views.show_site(hub, SITE),
    "sinks": sinks.list_sinks,
    "records": lambda hub: hub.streams.records(SITE),
    "rejected": lambda hub: hub.streams.rejected(SITE),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_is_answered_while_the_connection_that_writes_is_busy(hub: Hub, question: str) -> None:
    await add_site(hub)
    Sender(hub).send(Reading("press", "t", START, 20))
    release = threading.Event()

    def busy() -> bool:
        with hub.streams.database.transaction():
            return release.wait(HANGS_S)

    async with anyio.create_task_group() as group:
        held: list[bool] = []

        async def write() -> None:
            held.append(await hub.streams.database.call(busy))

        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        assert await QUESTIONS[question](hub) is not None
        release.set()
    assert held == [True], "it was answered before the other let go"


async def test_readings_are_stored_while_as_many_questions_as_may_be_are_at_work(hub: Hub) -> None:
    release, begun = threading.Event(), threading.Semaphore(0)
    ended: list[bool] = []

    def slow(connection: object) -> bool:
        begun.release()
        return release.wait(HANGS_S)

    async def ask() -> None:
        ended.append(await hub.reader.run(slow))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask)
        for _ in range(2):
            assert await anyio.to_thread.run_sync(begun.acquire, True, HANGS_S)
        await hub.streams.database.call(lambda: Sender(hub).send(Reading("press", "t", START, 20)))
        assert not begun.acquire(blocking=False), "others wait their turn"
        assert ended == []
        assert [row.sent for row in await hub.streams.ledger(SITE)] == [1], "nor does the account wait for them"
        release.set()
    assert ended == [True] * 4


async def test_a_question_about_every_site_holds_no_more_than_its_limit(hub: Hub) -> None:
    for number in range(5):
        await add_site(hub, f"site-{number}")
        sender = Sender(hub, f"site-{number}")
        sender.send(*(Reading("press", f"m{at % 2}", START + at * 10 + number, at) for at in range(20)))
    found = await readings.readings(hub, readings.Asked(limit=7))
    assert [each.time - START for each in found.items] == [194, 193, 192, 191, 190, 184, 183]
    early = await readings.readings(hub, readings.Asked(limit=3, until=START + 12, order="asc"))
    assert [each.time - START for each in early.items] == [4, 10, 11]


ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_question_that_nobody_waits_for_any_more_ends_at_once(hub: Hub) -> None:
    reader = Reader(hub.streams.database.path, within=HANGS_S)
    begun, ended = threading.Event(), threading.Event()

    def endless(connection: sqlite3.Connection) -> None:
        begun.set()
        try:
            connection.execute(ENDLESS).fetchone()
        finally:
            ended.set()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(reader.run, endless)
            assert await anyio.to_thread.run_sync(begun.wait, HANGS_S)
            scope.cancel()
    assert scope.cancelled_caught, "a hub that stops waits for no reckoning"
    assert await anyio.to_thread.run_sync(ended.wait, HANGS_S / 2), "nor does it go on"


async def test_a_question_that_takes_too_long_is_given_up(hub: Hub) -> None:
    reader = Reader(hub.streams.database.path, within=0.01)
    with pytest.raises(InputError, match="longer than"):
        await reader.run(lambda connection: connection.execute(ENDLESS).fetchone())
    with pytest.raises(InputError, match="longer than"):  # also one of many short ones
        await reader.run(lambda connection: [connection.execute("SELECT 1").fetchone() for _ in iter(int, 1)])


OF_A_SITE: dict[str, Callable[[Hub, str], Awaitable[object]]] = {
    "readings": lambda hub, site: readings.readings(hub, readings.Asked(site=site)),
    "spans": lambda hub, site: history.reduced(hub, history.Asked(every=60_000, site=site)),
    "export": lambda hub, site: drained(history.pages(hub, history.Exporting(site=site))),
    "export of spans": lambda hub, site: drained(history.spans(hub, history.Exporting(every=60_000, site=site))),
    "devices": lambda hub, site: devices.list_devices(hub, devices.Listing(site)),
    "ledger": lambda hub, site: readings.ledger(hub, site),
    "holds": lambda hub, site: holds.list_holds(hub, site),
}


@pytest.mark.parametrize("question", OF_A_SITE)
async def test_a_question_about_a_site_that_is_none_is_not_answered_with_nothing(hub: Hub, question: str) -> None:
    await add_site(hub)
    await OF_A_SITE[question](hub, SITE)
    with pytest.raises(NotFoundError, match="no site 'nowhere'"):
        await OF_A_SITE[question](hub, "nowhere")


async def test_a_site_that_was_deleted_has_its_readings_still(hub: Hub) -> None:
    await add_site(hub)
    Sender(hub).send(Reading("press", "t", START, 20))
    await apply.delete_site(hub, SITE, author="ann")
    assert len((await readings.readings(hub, readings.Asked(site=SITE))).items) == 1


@pytest.mark.parametrize("limit", [0, 100_001])
async def test_a_limit_that_is_not_heeded_is_refused(hub: Hub, limit: int) -> None:
    with pytest.raises(InputError, match="must be 1 to 100000"):
        await readings.readings(hub, readings.Asked(limit=limit))
