"""What is older than its policy goes, in slices, and the account of a site stays exact."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_hub.blueprint import retention
from holdfast_hub.blueprint.retention import Spec
from holdfast_hub.operations import apply, readings, site_views
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.store import freed, retired, series, sizes
from holdfast_hub.store.series import Chosen, SeriesRow
from holdfast_protocol.errors import InputError, Problem, TransientError
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.clock import FakeClock
from support.device_data import Sender
from support.hubs import add_site, hub_at, put

pytestmark = pytest.mark.anyio
DAY = 86_400_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path, FakeClock()) as made:
        yield made


def policy(name: str, spec: str) -> str:
    return f"apiVersion: holdfast.io/v1alpha1\nkind: Retention\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def aged(hub: Hub, metric: str, *days: float) -> list[Reading]:
    return [Reading("press", metric, hub.now() - round(each * DAY), each) for each in days]


async def kept(hub: Hub, metric: str = "", site: str = SITE) -> list[Any]:
    return [each.value for each in await hub.readings.find(site, metric=metric)]


async def account(hub: Hub) -> tuple[int, int, int, bool]:
    ledger = await readings.ledger(hub, SITE)
    (one,) = ledger.streams
    return one.sent, one.stored, one.retired, ledger.exact


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_is_too_old_goes_and_is_counted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired, "SLICE", 3)
    await add_site(hub)
    await put(hub, policy("month", "maxAge: 30d"))
    Sender(hub).send(*aged(hub, "t", *range(60, 0, -1)))
    assert await retire_readings(hub) == 30
    assert await kept(hub) == list(range(30, 0, -1))
    assert await account(hub) == (60, 30, 30, True)
    assert await retire_readings(hub) == 0


async def test_the_newest_reading_of_a_metric_stays_however_old_it_is(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("month", "maxAge: 30d"))
    Sender(hub).send(*aged(hub, "t", 400, 300), *aged(hub, "u", 200))
    assert await retire_readings(hub) == 1
    assert (await kept(hub, "t"), await kept(hub, "u")) == ([300], [200])


async def test_the_longest_age_counts_and_what_nothing_selects_stays(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "east-1", "east")
    west = "placement: {fieldSelector: {matchExpressions: [{key: zone, operator: In, values: [west]}]}}"
    await put(
        hub,
        policy("all", f"maxAge: 10d, metrics: [t*], {west}"),
        policy("long", f"maxAge: 90d, metrics: [temp], {west}"),
    )
    Sender(hub).send(*aged(hub, "temp", 100, 50, 1), *aged(hub, "torque", 100, 50, 1), *aged(hub, "other", 100, 1))
    Sender(hub, "east-1").send(*aged(hub, "temp", 100, 1))
    assert await retire_readings(hub) == 3
    assert await kept(hub, "temp") == [50, 1]
    assert await kept(hub, "torque") == [1]
    assert await kept(hub, "other") == [100, 1]
    assert await kept(hub, site="east-1") == [100, 1]


class Meanwhile(FakeClock):
    """Something is done while others pause."""

    def __init__(self) -> None:
        super().__init__()
        self.what: list[Callable[[], Awaitable[object]]] = []

    async def sleep(self, seconds: float) -> None:
        while self.what:
            await self.what.pop()()


async def test_a_policy_that_is_deleted_while_it_is_at_work_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retired, "SLICE", 3)
    clock = Meanwhile()
    with hub_at(tmp_path, clock) as hub:
        await add_site(hub)
        await put(hub, policy("short", "maxAge: 1d"))
        Sender(hub).send(*aged(hub, "t", *range(20, 0, -1)))
        clock.what = [lambda: apply.delete_object(hub, "Retention", "short", author="ann")]
        assert await retire_readings(hub) == 3
        assert len(await kept(hub)) == 17


async def test_a_policy_is_kept_at_a_site_of_more_metrics_than_one_question_may_be_about(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MAX_SERIES", 2)
    await add_site(hub)
    await put(hub, policy("short", "maxAge: 1d"))
    Sender(hub).send(*(each for metric in "abcd" for each in aged(hub, metric, 3, 2, 0)))
    assert await retire_readings(hub) == 8


async def test_a_policy_of_another_class_takes_nothing(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("state", "maxAge: 1d, classes: [p1]"))
    Sender(hub).send(*aged(hub, "t", 100, 1))
    assert await retire_readings(hub) == 0


async def test_what_is_above_the_high_water_mark_waits(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("month", "maxAge: 30d"))
    sender = Sender(hub)
    sender.send(*aged(hub, "t", 100, 50, 1))
    with hub.streams.database.transaction() as connection:
        connection.execute("UPDATE ranges SET last = 1")
    assert await retire_readings(hub) == 1
    assert await kept(hub) == [50, 1]


@pytest.mark.parametrize(
    ("spec", "at"),
    [
        ({}, ()),
        ({"maxBytes": "much"}, ("maxBytes",)),
        ({"maxBytes": "10k"}, ("maxBytes",)),
        ({"tiers": [{"every": "1m"}], "classes": ["p3"]}, ("tiers",)),
        ({"tiers": [{"every": "1s"}]}, ("tiers", 0, "every")),
        ({"tiers": [{"every": "1h"}, {"every": "90m"}]}, ("tiers", 1, "every")),
        ({"tiers": [{"every": "1m"}, {"every": "1h", "maxAge": "1d"}]}, ("tiers", 1, "maxAge")),
        ({"tiers": [{"every": "400d"}]}, ("tiers", 0, "every")),
        ({"tiers": [{"every": f"{2**n}m"} for n in range(5)]}, ("tiers",)),
        ({"maxAge": "soon"}, ("maxAge",)),
        ({"maxAge": "5s"}, ("maxAge",)),
        ({"maxAge": "1d", "metrics": [""]}, ("metrics",)),
        ({"maxAge": "1d", "devices": ["a[b]"]}, ("devices",)),
        ({"maxAge": "1d", "classes": ["p9"]}, ("classes",)),
        ({"maxAge": "1d", "other": 1}, ("other",)),
    ],
    ids=str,
)
def test_a_retention_that_cannot_be_is_refused(spec: dict[str, Any], at: tuple[str, ...]) -> None:
    assert [each.path for each in retention.flaws(spec)] == [at]


SIZE = 28  # bytes of a number


async def test_what_is_too_much_goes_oldest_first_at_each_site_and_is_counted(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retired, "SLICE", 30)
    monkeypatch.setattr(retention, "room", lambda spec: SIZE * 100 if spec.max_bytes else 0)
    await add_site(hub)
    await add_site(hub, "east-1", "east")
    await put(hub, policy("room", "maxBytes: 1Mi, metrics: [t*]"))
    sender = Sender(hub)
    sender.send(*aged(hub, "t", *(n / 1440 for n in range(150))), *aged(hub, "u", *range(200)))
    Sender(hub, "east-1").send(*aged(hub, "t", *range(90)))
    assert await retire_readings(hub) == 50
    assert sorted(await kept(hub, "t")) == [n / 1440 for n in range(100)]
    assert await account(hub) == (350, 300, 50, True)
    sender.send(*aged(hub, "t2", *(n / 1440 for n in range(20))), *aged(hub, "t", 7000.0))
    assert await retire_readings(hub) == 21
    assert (len(await kept(hub, "t")), len(await kept(hub, "t2")), len(await kept(hub, "u"))) == (80, 20, 200)
    assert len(await kept(hub, site="east-1")) == 90


async def test_sizes_are_those_of_what_is_there(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("room", "maxBytes: 1Mi"), policy("days", "maxAge: 3d"))
    sender = Sender(hub)
    for first in range(0, 60, 20):
        sender.send(*aged(hub, "t", *(n / 10 for n in range(first, first + 20))), Reading("a", "s", hub.now(), "größe"))
        await retire_readings(hub)
        with hub.streams.database.reading() as connection:
            found = connection.execute(
                "SELECT series, stream, day, readings, bytes FROM sizes ORDER BY 1, 2, 3"
            ).fetchall()
            wanted = connection.execute(
                f"SELECT series, stream, time / 86400000 * 86400000, count(*), sum({sizes.BYTES})"
                " FROM readings GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            ).fetchall()
        assert found == wanted
    assert len(found) == 4 + 1


async def test_a_bound_in_bytes_is_of_the_classes_it_names(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "room", lambda spec: SIZE * 10 if spec.max_bytes else 0)
    await add_site(hub)
    await put(hub, policy("room", "maxBytes: 1Mi, classes: [p1]"))
    Sender(hub).send(*aged(hub, "t", *range(50)))
    assert await retire_readings(hub) == 0


async def test_the_room_of_what_went_is_given_back_to_the_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed, "SPARE", 8)
    await add_site(hub)
    sender = Sender(hub)
    for first in range(0, 400, 100):
        sender.send(*(Reading("d", "s", n, f"{n} {'x' * 2000}") for n in range(first, first + 100)))
    await put(hub, policy("short", "maxAge: 1d"))

    def pages() -> int:
        with hub.streams.database.reading() as connection:
            return int(connection.execute("PRAGMA page_count").fetchone()[0])

    before = pages()
    assert await retire_readings(hub) == 399
    assert pages() < before / 4
    assert hub.streams.database.path.stat().st_size <= before * 4096


def test_the_longest_age_of_a_copy_counts_and_none_is_for_ever() -> None:
    def spec(*tiers: tuple[str, str], metrics: tuple[str, ...] = ()) -> Spec:
        return Spec(tiers=tuple(retention.Tier(*each) for each in tiers), metrics=metrics)

    specs = [spec(("1m", "1d"), ("1h", "")), spec(("1m", "2d"), ("1h", "9d"), metrics=("t",)), spec(("1d", "4d"))]
    assert retention.tiers(specs, "d", "t") == {60_000: 2 * DAY, 3_600_000: 0, DAY: 4 * DAY}
    assert retention.tiers(specs[:1], "d", "u") == {60_000: DAY, 3_600_000: 0}
    assert retention.tiers(specs[::-1], "d", "t")[3_600_000] == 0


def test_ages_are_by_class() -> None:
    specs = [Spec("1d", classes=("p2", "p3")), Spec("2d", metrics=("t",), classes=("p3",))]
    assert retention.ages(specs, "d", "t") == {"p2": DAY, "p3": 2 * DAY}
    assert retention.ages(specs, "d", "u") == {"p2": DAY, "p3": DAY}


async def test_what_retention_could_not_do_at_a_site_is_its_problem_until_it_can_and_holds_up_no_other(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in ("a-site", SITE):
        await add_site(hub, site)
        Sender(hub, site).send(*aged(hub, "t", 3, 2, 0))
    await put(hub, policy("short", "maxAge: 1d"))
    every = series.every

    def too_much(connection: sqlite3.Connection, chosen: Chosen, most: int = -1) -> list[SeriesRow]:
        if chosen.site == "a-site":
            raise InputError([Problem("would take longer than 600 s")])
        return every(connection, chosen, most)

    monkeypatch.setattr(series, "every", too_much)
    assert await retire_readings(hub) == 2
    assert await retire_readings(hub) == 0
    assert [await kept(hub, site=site) for site in ("a-site", SITE)] == [[3, 2, 0], [0]]
    (problem,) = (await site_views.show_site(hub, "a-site"))["problems"]
    assert "would take longer than 600 s" in problem
    assert "(2 times)" in problem
    assert (await site_views.show_site(hub, SITE))["problems"] == []
    monkeypatch.setattr(series, "every", every)
    assert await retire_readings(hub) == 2
    assert (await site_views.show_site(hub, "a-site"))["problems"] == []


async def test_what_could_not_be_done_for_all_sites_is_told_with_the_hub_s_health(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection) -> int:
        raise TransientError("readings.db: database or disk is full", reason="DiskFull", hint="free space on the disk")

    monkeypatch.setattr(freed, "surplus", full)
    await retire_readings(hub)
    (problem,) = (await site_views.counts(hub))["problems"]
    assert (
        problem == "retention: DiskFull: readings.db: database or disk is full (try: free space on the disk) (1 times)"
    )
    monkeypatch.undo()
    await retire_readings(hub)
    assert (await site_views.counts(hub))["problems"] == []


async def test_what_a_policy_does_not_take_is_not_looked_through_on_the_connection_that_writes(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, policy("state", "maxAge: 1d, classes: [p1]"))
    Sender(hub).send(*aged(hub, "t", *(2 + n / 10_000 for n in range(5_000))))
    looked = 0

    def step() -> int:
        nonlocal looked
        looked += 1
        return 0

    with hub.streams.database.reading() as connection:
        connection.set_progress_handler(step, 100)
    assert await retire_readings(hub) == 0
    with hub.streams.database.reading() as connection:
        connection.set_progress_handler(None, 0)
    assert looked < 20, "ingest waits for none of it"
    assert len(await hub.readings.find(SITE, limit=100_000)) == 5_000
