"""Coarser copies at the hub: exactly what the readings came to, whatever comes late, is killed or taken away."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.api import export
from holdfast_hub.operations import history, readings
from holdfast_hub.operations.history import Exporting
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.store import coarse, folding, retired, series
from holdfast_hub.store.buckets import Bucket
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
