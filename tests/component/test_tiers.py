"""Coarser copies at the hub: exactly what the readings came to, whatever comes late, is killed or taken away."""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.api import export
from holdfast_hub.operations import folding as work
from holdfast_hub.operations import history, readings
from holdfast_hub.operations.history import Asked, Exporting
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.store import coarse, folding, retired, series
from holdfast_hub.store.buckets import Bucket
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.clock import FakeClock
from support.device_data import Sender
from support.hubs import add_site, hub_at, put

pytestmark = pytest.mark.anyio
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path, FakeClock()) as made:
        yield made


def policy(name: str, spec: str) -> str:
    return f"apiVersion: holdfast.io/v1alpha1\nkind: Retention\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


TIERS = policy("tiers", "maxAge: 1d, tiers: [{every: 1m, maxAge: 30d}, {every: 1h}]")


def some(hub: Hub, seed: int, count: int = 60, days: float = 3) -> list[Reading]:
    """Return readings of four metrics and every kind, of the last days, in no order."""
    chance = random.Random(seed)

    def moment() -> int:
        return hub.now() - round(chance.random() * days * DAY) // 20 * 20

    found = []
    for _ in range(count):
        found.append(Reading("press", "t", moment(), chance.choice([1, -4, 2.5, 0.25, float("nan")]), unit="C"))
        found.append(Reading("press", "t", moment(), 99.5, unit="C", quality="bad"))
        found.append(Reading("press", "open", moment(), chance.random() < 0.5))
        found.append(Reading("press", "state", moment(), chance.choice(["on", "off"])))
    return found


async def said(hub: Hub, every: int, **other: object) -> list[Bucket]:
    return await history.reduced(hub, Asked(every=every, limit=100_000, **other))  # type: ignore[arg-type]


def shown(buckets: list[Bucket]) -> list[tuple[object, ...]]:
    return [
        (
            each.metric,
            each.unit,
            each.time,
            each.until,
            each.count,
            each.bad,
            each.min,
            each.max,
            each.mean,
            repr(each.last),
        )
        for each in buckets
        if each.count or each.bad
    ]


def rows(hub: Hub, table: str) -> int:
    with hub.streams.database.reading() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_copies_answer_like_the_readings_they_were_made_of(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "READINGS", 100)
    monkeypatch.setattr(folding, "SLICE", 50)
    monkeypatch.setattr(coarse, "SPANS", 7)
    (tmp_path / "plain").mkdir()
    with hub_at(tmp_path / "plain", FakeClock()) as plain:
        await add_site(hub)
        ours, theirs = Sender(hub), Sender(plain)
        for seed in range(3):  # before there is a policy
            ours.send(*some(hub, seed))
            theirs.send(*some(hub, seed))
        await put(hub, TIERS)
        for seed in range(3, 8):
            if seed % 2:
                await retire_readings(hub)
            ours.send(*some(hub, seed))
            theirs.send(*some(hub, seed))
            for every in (MINUTE, HOUR, DAY):
                assert shown(await said(hub, every)) == shown(await said(plain, every))
        await retire_readings(hub)
        assert rows(hub, "unfolded") == 0
        assert rows(hub, "readings") < rows(plain, "readings") / 2
        for every in (MINUTE, 5 * MINUTE, HOUR, 6 * HOUR, DAY):
            assert shown(await said(hub, every)) == shown(await said(plain, every))


async def test_the_longest_copy_that_will_do_answers_and_says_so(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("tiers", "tiers: [{every: 1m}, {every: 1h}]"))
    now = hub.now() // DAY * DAY
    Sender(hub).send(*(Reading("press", "t", now - n * HOUR // 2, n) for n in range(1, 500)))
    await retire_readings(hub)
    with hub.streams.database.transaction() as connection:
        connection.execute("DELETE FROM readings WHERE sequence % 2")  # nobody reads them
        connection.execute("DELETE FROM coarse WHERE every = ?", (MINUTE,))
    answered = await said(hub, HOUR, until=now)
    assert {(each.tier, each.count) for each in answered} == {(HOUR, 2), (HOUR, 1)}
    assert {each.tier for each in await said(hub, DAY, until=now)} == {HOUR}
    assert {each.tier for each in await said(hub, 90 * MINUTE, since=now - DAY, until=now)} <= {0, MINUTE}
    assert {each.tier for each in await said(hub, 1000, until=now)} == {0}


async def test_a_time_that_cuts_a_span_is_answered_by_what_is_fine_enough(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("tiers", "tiers: [{every: 1h}]"))
    now = hub.now() // HOUR * HOUR
    Sender(hub).send(*(Reading("press", "t", now - n * MINUTE, n) for n in range(1, 121)))
    await retire_readings(hub)
    (late, early) = await said(hub, HOUR, since=now - 90 * MINUTE, until=now)
    assert (late.tier, late.count, early.tier, early.count) == (HOUR, 60, 0, 30)


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_no_copy_can_answer_any_more_is_shown_as_lost(hub: Hub) -> None:
    await add_site(hub)
    sender = Sender(hub)
    sender.send(Reading("press", "t", hub.now() - 9 * DAY, 1))
    await put(hub, policy("short", "maxAge: 1d"))
    sender.send(*(Reading("press", "t", hub.now() - day * DAY - HOUR, day) for day in (7, 5, 3, 0)))
    await retire_readings(hub)
    found = await said(hub, DAY)
    assert [(each.count, each.lost) for each in found] == [(1, ""), (0, "MaxAge")]
    assert found[1].time == (hub.now() - 9 * DAY) // DAY * DAY
    assert await said(hub, DAY, until=hub.now() - 4 * DAY) == [
        Bucket(SITE, "node-1", "press", "t", "", found[1].time, found[1].time + 6 * DAY, 0, lost="MaxAge")
    ]


async def test_a_copy_goes_at_its_own_age_and_a_coarser_one_stays(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    sender = Sender(hub)
    times = [hub.now() - day * DAY for day in (100, 50, 20, 3, 0)]
    sender.send(*(Reading("press", "t", time, 1) for time in times))
    await retire_readings(hub)
    assert (rows(hub, "readings"), rows(hub, "coarse")) == (1, 3 + 5)
    assert [each.tier for each in await said(hub, HOUR) if each.count] == [HOUR] * 5
    fine = await said(hub, MINUTE)
    assert [(each.count, each.lost) for each in fine] == [(1, ""), (0, ""), (1, ""), (0, ""), (1, ""), (0, "MaxAge")]


async def test_what_comes_late_is_in_the_answer_at_once_and_in_the_copy_once(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    sender = Sender(hub)
    then = hub.now() // HOUR * HOUR - 10 * DAY
    sender.send(Reading("press", "t", then, 5), Reading("press", "t", hub.now(), 1))
    await retire_readings(hub)
    sender.send(Reading("press", "t", then + 1, 7))
    for _ in range(3):
        (_, _, one) = await said(hub, HOUR)
        assert (one.count, one.min, one.max, one.mean, one.last, one.tier) == (2, 5, 7, 6.0, 7, HOUR)
        await retire_readings(hub)
    assert rows(hub, "readings") == 1


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


async def exported(hub: Hub, **asked: object) -> str:
    wanted = Exporting(**asked)  # type: ignore[arg-type]
    return b"".join([part async for part in export.spans(history.spans(hub, wanted), wanted.form)]).decode()


async def test_an_export_of_spans_has_each_once_oldest_first_and_says_of_what(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 4)
    await add_site(hub)
    await put(hub, TIERS)
    Sender(hub).send(*some(hub, 1, days=30))
    await retire_readings(hub)
    asked = await said(hub, HOUR)
    found = [json.loads(line) for line in (await exported(hub, every=HOUR)).splitlines()]
    assert sorted((row["metric"], row["time"], row["count"], row["bad"]) for row in found) == sorted(
        (each.metric, each.time, each.count, each.bad) for each in asked if each.count or each.bad
    )
    times = [row["time"] for row in found if row["metric"] == "open"]
    assert times == sorted(set(times))
    assert {row["tier"] for row in found} == {HOUR}
    table = list(csv.DictReader(io.StringIO(await exported(hub, every=DAY, form="csv"), newline="")))
    assert [row["metric"] for row in table] == sorted(row["metric"] for row in table)
    assert table[0]["time"].endswith("T00:00:00.000Z")


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_question_about_readings_says_what_was_taken_away_and_what_still_knows_of_it(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, TIERS)
    then = hub.now() - 40 * DAY
    Sender(hub).send(
        Reading("press", "t", then, 1), Reading("press", "t", then + 1, 1), Reading("press", "t", hub.now(), 2)
    )
    await retire_readings(hub)
    answer = await readings.readings(hub, readings.Asked())
    assert [(each.metric, each.tiers) for each in answer.retired] == [("t", [HOUR])]  # the minutes are too old, too
    assert answer.retired[0].loss == retired.Loss(0, "MaxAge", then, then + 2, 2)
    assert (await readings.readings(hub, readings.Asked(since=hub.now() - DAY))).retired == []


async def test_a_device_whose_clock_is_years_off_makes_nobody_look_through_those_years(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("tiers", "tiers: [{every: 1m}, {every: 1d}]"))
    sender = Sender(hub)
    sender.send(Reading("press", "t", hub.now() - 2 * DAY, 1))
    await retire_readings(hub)
    off = [Reading("press", "t", n * HOUR * 2, n) for n in range(5)]
    right = [Reading("press", "t", hub.now() + n, n) for n in range(5)]
    sender.send(*off, *right)
    with hub.streams.database.reading() as connection:
        times = connection.execute("SELECT since, until FROM stretches ORDER BY since").fetchall()
        assert times == [(n * HOUR * 2, n * HOUR * 2) for n in range(5)] + [(hub.now(), hub.now() + 4)]
        (stream,) = connection.execute("SELECT id FROM streams").fetchone()
        group = series.of_group(connection, stream, SITE, "node-1", (2, 11), (0, hub.now() + 4))
        waiting = folding.waiting(connection)[SITE]
        assert waiting == [(n * HOUR * 2, n * HOUR * 2) for n in range(5)] + [(hub.now(), hub.now() + 4)]
    assert [row.sequence for _, row in group] == list(range(2, 12))
    wanted = [shown(await said(hub, every)) for every in (MINUTE, DAY)]
    await retire_readings(hub)
    with hub.streams.database.transaction() as connection:
        connection.execute("DELETE FROM readings")
        assert connection.execute("SELECT count(*) FROM unfolded").fetchone() == (0,)
    assert [shown(await said(hub, every)) for every in (MINUTE, DAY)] == wanted
    with hub.streams.database.transaction() as connection:
        connection.execute("DELETE FROM segments")
        assert connection.execute("SELECT count(*) FROM stretches").fetchone() == (0,)
