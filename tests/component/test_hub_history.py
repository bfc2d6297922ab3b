"""What devices said, asked for in bulk: buckets of time, holes shown as holes, and every reading as a stream."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.api import export
from holdfast_hub.operations import devices, history
from holdfast_hub.operations.history import Asked, Exporting
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import devices as rows
from holdfast_hub.store import series, streams
from holdfast_hub.store.series import Chosen
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.device_data import Sender
from support.hubs import NODE, add_site, hub_at

pytestmark = pytest.mark.anyio
MINUTE = 60_000
START = 1_700_000_040_000  # a whole minute


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


def value(metric: str, minutes: float, said: float | int | bool | str, **other: str) -> Reading:
    return Reading("press", metric, START + round(minutes * MINUTE), said, **other)


async def asked(hub: Hub, metric: str = "", **other: object) -> list[tuple[object, ...]]:
    query = {"every": MINUTE, "metric": metric, "order": "asc", **other}
    found = await history.reduced(hub, Asked(**query))  # type: ignore[arg-type]
    return [((each.time - START) / MINUTE, each.count, each.min, each.max, each.mean, each.last) for each in found]


async def test_a_bucket_says_least_greatest_mean_count_and_last(hub: Hub) -> None:
    Sender(hub).send(value("t", 0, 20), value("t", 0.5, 22.5), value("t", 0.9, 21), value("t", 1, 30))
    assert await asked(hub) == [(0, 3, 20, 22.5, 63.5 / 3, 21), (1, 1, 30, 30, 30.0, 30)]


async def test_what_is_missing_between_two_buckets_is_one_bucket_of_nothing(hub: Hub) -> None:
    Sender(hub).send(value("t", 0, 1), value("t", 7.5, 2))
    found = await history.reduced(hub, Asked(every=MINUTE))
    assert [(each.time - START, each.until - START, each.count) for each in found] == [
        (7 * MINUTE, 8 * MINUTE, 1),
        (MINUTE, 7 * MINUTE, 0),
        (0, MINUTE, 1),
    ]


async def test_late_history_goes_into_its_own_bucket_and_is_never_the_last(hub: Hub) -> None:
    sender = Sender(hub)
    sender.send(value("t", 3, 9))
    sender.send(value("t", 0, 1), value("t", 2.5, 5))
    assert [row[0::5] for row in await asked(hub)] == [(0, 1), (1, None), (2, 5), (3, 9)]
    shown = await devices.show_device(hub, SITE, "press")
    assert [(each.value, each.time) for each in shown["metrics"]] == [(9, START + 3 * MINUTE)]


async def test_texts_booleans_and_what_is_no_number_are_counted_and_not_reckoned_with(hub: Hub) -> None:
    Sender(hub).send(
        value("state", 0, "on"),
        value("state", 0.5, "off"),
        value("open", 0, True),
        value("open", 0.5, False),
        value("t", 0, math.nan),
        value("t", 0.5, 2.0),
        value("t", 0.6, 99.0, quality="bad"),
    )
    assert await asked(hub, "state") == [(0, 2, None, None, None, "off")]
    assert await asked(hub, "open") == [(0, 2, 0, 1, 0.5, False)]
    assert await asked(hub, "t") == [(0, 2, 2.0, 2.0, 2.0, 2.0)]
    assert [each.bad for each in await history.reduced(hub, Asked(every=MINUTE, metric="t"))] == [1]


async def test_units_are_not_mixed_and_bounds_cut_buckets(hub: Hub) -> None:
    Sender(hub).send(value("t", 0, 1, unit="C"), value("t", 0.5, 2, unit="C"), value("t", 0.5, 300, unit="K"))
    found = await history.reduced(hub, Asked(every=MINUTE, since=START + MINUTE // 2, until=START + MINUTE))
    assert sorted((each.unit, each.count, each.last) for each in found) == [("C", 1, 2), ("K", 1, 300)]


async def test_the_newest_buckets_are_returned_when_there_are_more(hub: Hub) -> None:
    Sender(hub).send(*(value("t", n, n) for n in range(10)))
    assert [row[0] for row in await asked(hub, limit=3)] == [7, 8, 9]


@pytest.mark.parametrize("other", [{"every": 0}, {"every": -5}, {"limit": 0}, {"limit": 100_001}])
async def test_an_impossible_question_is_refused(hub: Hub, other: dict[str, int]) -> None:
    with pytest.raises(InputError):
        await history.reduced(hub, Asked(**{"every": 1, **other}))  # type: ignore[arg-type]


async def test_a_question_that_takes_too_long_is_ended(hub: Hub) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(InputError, match="longer"):
        await hub.reader.run(lambda connection: connection.execute(endless).fetchone(), within=0.05)


async def test_a_long_read_cannot_write(hub: Hub) -> None:
    with pytest.raises(Exception, match="readonly"):
        await hub.reader.run(lambda connection: connection.execute("DELETE FROM series"))


async def exported(hub: Hub, **asked: object) -> str:
    wanted = Exporting(**asked)  # type: ignore[arg-type]
    return b"".join([part async for part in export.text(history.pages(hub, wanted), wanted.form)]).decode()


async def test_an_export_has_every_reading_once_across_its_pages(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 3)
    Sender(hub).send(*(value("t", 0, n) for n in range(7)), *(value("u", n, n + 0.5) for n in range(6)))
    rows = [json.loads(line) for line in (await exported(hub)).splitlines()]
    assert [(row["metric"], row["value"]) for row in rows] == [
        *(("t", n) for n in range(7)),
        *(("u", n + 0.5) for n in range(6)),
    ]
    assert len({(row["incarnation"], row["sequence"]) for row in rows}) == 13
    assert {row["stream"] for row in rows} == {"p3"}


async def test_csv_gives_back_whatever_a_device_wrote(hub: Hub) -> None:
    hostile = 'a "quoted",\r\nline; =1+1'
    Sender(hub).send(value("s", 0, hostile), value("t", 0, math.inf), value("u", 0, True))
    table = list(csv.DictReader(io.StringIO(await exported(hub, form="csv"), newline="")))
    assert [row["value"] for row in table] == [hostile, "inf", "true"]
    assert table[0]["time"] == "2023-11-14T22:14:00.000Z"


async def test_devices_are_there_with_their_first_reading(hub: Hub) -> None:
    await add_site(hub)
    sender = Sender(hub)
    assert await devices.list_devices(hub, devices.Listing()) == []
    sender.send(value("t", 0, 1, unit="C"), Reading("lathe", "rpm", START, 900))
    found = await devices.list_devices(hub, devices.Listing(SITE))
    assert [(each.name, each.node, each.metrics, each.last_seen) for each in found] == [
        (f"{SITE}/lathe", NODE, 1, START),
        (f"{SITE}/press", NODE, 1, START),
    ]
    assert all(each.first_seen > START for each in found)
    await add_site(hub, "elsewhere")
    assert await devices.list_devices(hub, devices.Listing("elsewhere")) == []


async def test_a_forgotten_device_is_back_when_it_speaks_again_and_not_for_old_history(hub: Hub) -> None:
    await add_site(hub)
    sender = Sender(hub)
    sender.send(value("t", 5, 1))
    await devices.label_device(hub, SITE, "press", {"line": "a", "x": None}, author="ann")
    assert (await devices.list_devices(hub, devices.Listing()))[0].labels == {"line": "a"}
    await devices.forget_device(hub, SITE, "press", author="ann")
    sender.send(value("t", 1, 1))
    assert await devices.list_devices(hub, devices.Listing()) == []
    with pytest.raises(NotFoundError):
        await devices.show_device(hub, SITE, "press")
    sender.send(value("t", 6, 1))
    shown = await devices.show_device(hub, SITE, "press")
    assert shown["labels"] == {}
    assert [event.action for event in shown["history"]] == ["forget-device", "label-device"]


async def test_no_site_lists_more_devices_than_the_limit_and_their_readings_are_stored(hub: Hub) -> None:
    with hub.streams.database.transaction() as connection:
        connection.execute("INSERT INTO device_counts VALUES (?, 9999)", (SITE,))
    Sender(hub).send(Reading("a", "m", START, 1), Reading("b", "m", START, 1))
    assert [each.device for each in await devices.list_devices(hub, devices.Listing())] == ["a"]
    assert len(await hub.readings.find(SITE)) == 2


async def test_devices_older_than_their_list_are_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = streams.migrations
    monkeypatch.setattr(streams, "migrations", lambda *names: every(*names)[:1])
    with hub_at(tmp_path) as old:
        Sender(old).send(value("t", 2, 1), value("t", 1, 1))
    monkeypatch.setattr(streams, "migrations", every)
    with hub_at(tmp_path) as new:
        found = await devices.list_devices(new, devices.Listing())
        assert [(each.device, each.first_seen) for each in found] == [("press", START + MINUTE)]


async def test_the_series_and_the_row_of_one_device_are_found_without_looking_at_others(hub: Hub) -> None:
    looked = 0

    def step() -> int:
        nonlocal looked
        looked += 1
        return 0

    with hub.streams.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO series (site, node, device, metric, unit, quality, kind) VALUES (?, 'n', ?, 't', '', 'good', 'int')",
            [(site, f"d{number}") for site in ("east", "west") for number in range(1000)],
        )
        connection.set_progress_handler(step, 10)
        try:
            assert [each.device for each in series.choose(connection, Chosen("west", "d7"))] == ["d7"]
            assert [each.device for each in rows.find(connection, "west", "d7", 1)] == ["d7"]
        finally:
            connection.set_progress_handler(None, 0)
    assert looked < 100


async def test_one_device_of_endless_metrics_keeps_no_other_from_being_listed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_METRICS", 3)
    await add_site(hub)
    Sender(hub).send(*(Reading("flood", f"m{n}", START, n) for n in range(5)), value("t", 0, 1))
    assert [(each.device, each.metrics) for each in await devices.list_devices(hub, devices.Listing())] == [
        ("flood", 3),
        ("press", 1),
    ]
    assert len((await devices.show_device(hub, SITE, "flood"))["metrics"]) == 3
