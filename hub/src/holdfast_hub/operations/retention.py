"""Retention at work: now and then readings that are older than their policies say are taken away, and counted."""

import contextlib
import sqlite3
from typing import Final

from holdfast_hub.blueprint import retention
from holdfast_hub.blueprint.retention import Spec
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import retired, series
from holdfast_hub.store.series import Chosen
from holdfast_protocol.errors import InputError, TransientError

EVERY: Final = 600.0  # seconds between two runs
FIRST: Final = 60.0  # seconds after the start before the first
PAUSE: Final = 0.02  # seconds between two slices, for whoever else waits for the disk


async def retire_readings(hub: Hub) -> int:
    """Take away what is too old at every site; return how many readings."""
    policies = await hub.store.read(lambda _: _policies(hub))
    return sum([await _retire_site(hub, site, specs) for site, specs in sorted(policies.items())])


def _policies(hub: Hub) -> dict[str, list[Spec]]:
    found: dict[str, list[Spec]] = {}
    for row in hub.fleet.objects.values():
        if row.kind == retention.KIND:
            for site in hub.fleet.sites_of(row.owner):
                found.setdefault(site, []).append(retention.read(row.spec))
    return found


async def _retire_site(hub: Hub, site: str, specs: list[Spec]) -> int:
    total = 0
    for row in await hub.reader.run(lambda connection: series.choose(connection, Chosen(site))):
        for name, age in retention.ages(specs, row.device, row.metric).items():
            total += await _retire_series(hub, row.id, name, hub.now() - age)
    return total


async def _retire_series(hub: Hub, number: int, stream_class: str, before: int) -> int:
    database, total, after = hub.streams.database, 0, retired.BEGINNING

    def retiring(after: retired.Key) -> list[retired.Key]:
        with database.transaction() as connection:
            return retired.retire(connection, number, stream_class, before, after)

    while await hub.reader.run(lambda connection: _has_older(connection, number, before)):
        keys = await database.call(retiring, after)
        total += len(keys)
        if len(keys) < retired.SLICE:
            break
        after = keys[-1]
        await hub.clock.sleep(PAUSE)
    return total


def _has_older(connection: sqlite3.Connection, number: int, before: int) -> bool:
    query = "SELECT 1 FROM readings WHERE series = ? AND time < ? LIMIT 1"
    return connection.execute(query, (number, before)).fetchone() is not None


async def run_retention(hub: Hub) -> None:
    """Retire readings, for ever."""
    await hub.clock.sleep(FIRST)
    while True:
        with contextlib.suppress(TransientError, InputError):  # a full disk, too much to look at: the next run goes on
            await retire_readings(hub)
        await hub.clock.sleep(EVERY)
