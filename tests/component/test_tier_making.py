"""Copies in longer spans while they are made: whole and once, through kills and whatever comes meanwhile."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import folding as work
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.store import coarse, folding, retired
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.clock import FakeClock
from support.device_data import Sender
from support.hubs import add_site, hub_at, put
from support.tiers import DAY, HOUR, MINUTE, TIERS, policy, rows, said, shown, some

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path, FakeClock()) as made:
        yield made


async def test_a_kill_between_reckoning_and_writing_changes_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    sender = Sender(hub)
    sender.send(*some(hub, 1))
    await retire_readings(hub)
    before = await said(hub, HOUR)
    sender.send(*some(hub, 2, days=30))
    wanted = shown(await said(hub, HOUR))
    assert wanted != shown(before)
    for place in ("put", "add"):
        owner = coarse if place == "put" else folding.sizes
        whole = getattr(owner, place)

        def killed(*given: object, whole: object = whole) -> None:
            whole(*given)  # type: ignore[operator]
            raise TransientError("killed", reason="Killed")

        with monkeypatch.context() as patched:
            patched.setattr(owner, place, killed)
            with pytest.raises(TransientError):
                await work.fold(hub)
        assert rows(hub, "unfolded") == 1
        assert shown(await said(hub, HOUR)) == wanted
    await work.fold(hub)
    assert rows(hub, "unfolded") == 0
    assert shown(await said(hub, HOUR)) == wanted


async def test_what_may_still_be_taken_back_is_in_the_answer_and_in_no_copy(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    sender = Sender(hub)
    then = hub.now() // HOUR * HOUR - 2 * HOUR
    sender.send(Reading("press", "t", then, 1))
    await retire_readings(hub)
    sender.skip(1)  # something between is not there yet
    sender.send(Reading("press", "t", then + 1, 2))
    await retire_readings(hub)
    assert (rows(hub, "unfolded"), [each.count for each in await said(hub, HOUR)]) == (1, [2])
    with hub.streams.database.transaction() as connection:
        (stream,) = connection.execute("SELECT id FROM streams").fetchone()
        connection.execute("DELETE FROM segments WHERE stream = ? AND first > 1", (stream,))
        connection.execute("DELETE FROM readings WHERE stream = ? AND sequence > 1", (stream,))
    assert (rows(hub, "unfolded"), [each.count for each in await said(hub, HOUR)]) == (0, [1])


async def test_a_new_coarser_copy_is_made_of_a_finer_one_that_knows_what_is_gone(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("tiers", "maxAge: 1d, tiers: [{every: 1m}]"))
    sender = Sender(hub)
    sender.send(*some(hub, 1, days=30))
    await retire_readings(hub)
    wanted = shown(await said(hub, DAY))
    await put(hub, policy("days", "tiers: [{every: 1d}]"))
    await retire_readings(hub)
    found = await said(hub, DAY, until=hub.now() // DAY * DAY)
    assert {each.tier for each in found if each.count} == {DAY}
    assert shown(await said(hub, DAY)) == wanted


async def test_a_copy_made_after_readings_had_gone_says_that_it_lacks_them(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("short", "maxAge: 1d"))
    Sender(hub).send(*(Reading("press", "t", hub.now() - n * DAY // 2, n) for n in range(10)))
    await retire_readings(hub)
    await put(hub, policy("hours", "tiers: [{every: 1h}]"))
    await retire_readings(hub)
    assert [(each.count, each.lost) for each in await said(hub, DAY)][-1] == (0, "MaxAge")
    with hub.streams.database.reading() as connection:
        (number,) = connection.execute("SELECT id FROM series").fetchone()
        assert [(each.every, each.rows) for each in retired.losses(connection, number)] == [(0, 7), (HOUR, 0)]


async def test_of_readings_at_one_time_the_last_that_was_taken_is_the_last_of_the_copy(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("tiers", "tiers: [{every: 1h}]"))
    then = hub.now() // HOUR * HOUR - HOUR
    Sender(hub).send(*(Reading("press", "t", then, value) for value in (3, 1, 2)), Reading("press", "t", then - DAY, 9))
    await retire_readings(hub)
    assert [(each.tier, each.last) for each in await said(hub, HOUR) if each.count] == [(HOUR, 2), (HOUR, 9)]


@pytest.mark.parametrize("seed", range(4))
async def test_a_copy_that_is_being_made_takes_everything_once_whatever_comes_meanwhile(
    hub: Hub, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "SLICE", 40)
    monkeypatch.setattr(coarse, "SPANS", 10)
    chance = random.Random(seed)
    await add_site(hub)
    sender = Sender(hub)
    sender.send(*some(hub, seed, 100))
    with hub.streams.database.transaction() as connection:
        folding.watch(connection, SITE)
        numbers = [number for (number,) in connection.execute("SELECT id FROM series")]
        folding.start(connection, [(number, every) for number in numbers for every in (MINUTE, HOUR, DAY)])
    with hub.streams.database.reading() as connection:
        under_way = folding.beginnings(connection, SITE)
    more = iter(range(100, 130))
    while under_way:
        what = chance.random()
        if what < 0.1 and (number := next(more, None)):
            sender.send(*some(hub, number, 5))
        elif what < 0.2:
            await work.fold(hub)
        else:
            step = await work.advance(hub, under_way[0])
            if step.upto is None:
                del under_way[0]
            else:
                under_way[0] = folding.Beginning(under_way[0].series, under_way[0].every, step.upto)
    await work.fold(hub)
    with hub.streams.database.transaction() as connection:
        copies = connection.execute("SELECT * FROM tiers").fetchall()
        connection.execute("DELETE FROM tiers")
    wanted = {every: shown(await said(hub, every)) for every in (MINUTE, HOUR, DAY)}
    with hub.streams.database.transaction() as connection:
        connection.executemany("INSERT INTO tiers VALUES (?, ?, ?)", copies)
        connection.execute("DELETE FROM readings")
    assert {every: shown(await said(hub, every)) for every in (MINUTE, HOUR, DAY)} == wanted


@pytest.mark.parametrize(("first", "between"), [((HOUR,), MINUTE), ((MINUTE, HOUR), 5 * MINUTE)])
async def test_a_copy_left_half_made_is_whole_though_a_finer_one_was_made_meanwhile(
    hub: Hub, first: tuple[int, ...], between: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "SLICE", 7)
    monkeypatch.setattr(coarse, "SPANS", 3)
    await add_site(hub)
    start = hub.now() // HOUR * HOUR - DAY
    Sender(hub).send(*(Reading("press", "t", start + n * 37_000, n) for n in range(60)))
    wanted = shown(await said(hub, HOUR))

    def begin(*lengths: int) -> folding.Beginning:
        with hub.streams.database.transaction() as connection:
            folding.start(connection, [(1, every) for every in lengths])
            return folding.beginnings(connection, SITE)[0]

    for every in first[:-1]:
        begin(every)
        await work.make_copies(hub, SITE, [])
    step = await work.advance(hub, begin(first[-1]))
    assert step.upto is not None
    begin(between)
    await work.make_copies(hub, SITE, [])
    assert shown(await said(hub, HOUR)) == wanted
    assert {each.tier for each in await said(hub, HOUR)} == {HOUR}


@pytest.mark.invariant("every-loss-is-counted")
async def test_no_reading_is_taken_away_before_it_is_in_the_copies(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    sender = Sender(hub)
    sender.send(Reading("press", "t", hub.now(), 1))
    await retire_readings(hub)
    with monkeypatch.context() as patched:

        async def nothing(_: Hub) -> int:
            return 0

        patched.setattr(work, "fold", nothing)
        sender.send(*(Reading("press", "t", hub.now() - n * DAY, n) for n in range(5, 10)))
        assert await retire_readings(hub) == 0
    wanted = shown(await said(hub, HOUR))
    assert await retire_readings(hub) == 5
    assert shown(await said(hub, HOUR)) == wanted
