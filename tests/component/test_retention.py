"""What is older than its policy goes, in slices, and the account of a site stays exact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_hub.blueprint import retention
from holdfast_hub.blueprint.retention import Spec
from holdfast_hub.operations import readings
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_hub.store import retired
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
        ({"maxAge": "soon"}, ("maxAge",)),
        ({"maxAge": "5s"}, ("maxAge",)),
        ({"maxAge": "1d", "metrics": [""]}, ("metrics",)),
        ({"maxAge": "1d", "devices": ["a[b]"]}, ("devices",)),
        ({"maxAge": "1d", "classes": ["p9"]}, ("classes",)),
        ({"maxAge": "1d", "other": 1}, ()),
    ],
    ids=str,
)
def test_a_retention_that_cannot_be_is_refused(spec: dict[str, Any], at: tuple[str, ...]) -> None:
    assert [each.path for each in retention.flaws(spec)] == [at]


def test_ages_are_by_class() -> None:
    specs = [Spec("1d", classes=("p2", "p3")), Spec("2d", metrics=("t",), classes=("p3",))]
    assert retention.ages(specs, "d", "t") == {"p2": DAY, "p3": 2 * DAY}
    assert retention.ages(specs, "d", "u") == {"p2": DAY, "p3": DAY}
