"""Retention at work: coarser copies are made and kept up, then what is too old or too much is taken away, and counted.

What is to be done is found out beside ingest, on a connection that only reads; what is done is done in short transactions.
"""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from holdfast_hub.blueprint import retention
from holdfast_hub.blueprint.retention import Spec
from holdfast_hub.operations import folding
from holdfast_hub.operations.folding import PAUSE
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import folding as copies
from holdfast_hub.store import freed, retired, series, sizes, status
from holdfast_hub.store.retired import Reason
from holdfast_hub.store.series import Chosen, SeriesRow
from holdfast_protocol.errors import HoldfastError, InputError, TransientError, render
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.topics import STREAM_CLASSES

EVERY: Final = 60.0  # seconds between two looks at copies and bounds in bytes
AGES: Final = 10  # looks between two that are at ages, too
FIRST: Final = 60.0  # seconds after the start before the first
SIZES: Final = 0  # the "copy" that is sizes


class Due(msgspec.Struct, frozen=True):
    """What goes of a series: readings of a class, or spans of a copy (`every`), before a time in ms."""

    series: int
    before: int
    stream_class: str = ""
    every: int = 0


async def retire_readings(hub: Hub, *, ages: bool = True) -> int:
    """Keep up copies and bounds at every site, and take away what is too old if `ages`; return how many readings went.

    What could not be done (a full disk, too much to look at in time) is a problem of its site, or of the hub, until it
    could, and holds up no other site."""
    await _tried(hub, "", "copies", partial(folding.fold, hub))
    total = 0
    for site in await hub.store.read(lambda _: _bounded(hub)):
        total += await _tried(hub, site, "retention", partial(_retire_at, hub, site, ages=ages))
    await _tried(hub, "", "retention", partial(give_back, hub))
    return total


async def _tried(hub: Hub, site: str, what: str, work: Callable[[], Awaitable[int]]) -> int:
    """Do some work and return its number, 0 for one that failed."""
    try:
        done = await work()
    except (TransientError, InputError) as error:
        with contextlib.suppress(TransientError):  # the disk that is full may be that of hub.db, too
            await hub.store.write(partial(_note, site=site, what=what, error=error, at=hub.now()))
        done = 0
    else:
        if await hub.store.read(lambda connection: status.has_problem(connection, site, what)):
            with contextlib.suppress(TransientError):
                await hub.store.write(lambda connection: status.clear_problem(connection, site, what))
    return done


def _note(connection: sqlite3.Connection, *, site: str, what: str, error: HoldfastError, at: int) -> None:
    status.add_problem(connection, site=site, node="", channel=what, reason=error.reason, message=render(error), at=at)


async def _retire_at(hub: Hub, site: SiteName, *, ages: bool) -> int:
    specs = await hub.store.read(lambda _: _specs(hub, site))
    rows = await hub.upkeep.run(lambda connection: series.every(connection, Chosen(site)))
    await folding.make_copies(hub, site, await hub.upkeep.run(partial(_missing, rows=rows, specs=specs)))
    old = await hub.upkeep.run(partial(_old, rows=rows, specs=specs, now=hub.now())) if ages else []
    total = 0
    for due in old:
        total += await _retire(hub, site, specs, due, "MaxAge")
    for spec in filter(retention.room, specs):
        for due in await hub.upkeep.run(partial(_too_much, rows=rows, spec=spec)):
            total += await _retire(hub, site, specs, due, "MaxBytes")
    return total


def _bounded(hub: Hub) -> list[SiteName]:
    """Return the sites of all policies."""
    policies = [row.owner for row in hub.fleet.objects.values() if row.kind == retention.KIND]
    return sorted({site for owner in policies for site in hub.fleet.sites_of(owner)})


def _specs(hub: Hub, site: SiteName) -> list[Spec]:
    placed = hub.fleet.objects_of(hub.fleet.placed(site))
    return [retention.read(row.spec) for row in placed if row.kind == retention.KIND]


def _missing(connection: sqlite3.Connection, rows: Sequence[SeriesRow], specs: Sequence[Spec]) -> list[tuple[int, int]]:
    """Return the copies that are wanted and not begun, by series and length."""
    return [each for each in _copies(rows, specs) if not copies.has_begun(connection, *each)]


def _copies(rows: Sequence[SeriesRow], specs: Sequence[Spec]) -> Iterator[tuple[int, int]]:
    bounded = [spec for spec in specs if retention.room(spec)]
    for row in rows:
        for every in retention.tiers(specs, row.device, row.metric):
            yield row.id, every
        if any(retention.selects(spec, row.device, row.metric) for spec in bounded):
            yield row.id, SIZES


def _old(connection: sqlite3.Connection, rows: Sequence[SeriesRow], specs: Sequence[Spec], now: int) -> list[Due]:
    """Return what has something that is too old."""
    found = []
    for row in rows:
        for name, age in retention.ages(specs, row.device, row.metric).items():
            if series.oldest(connection, row, until=now - age) is not None:
                found.append(Due(row.id, now - age, name))
        for every, age in retention.tiers(specs, row.device, row.metric).items():
            if age and retired.has_older_spans(connection, row.id, every, now - age):
                found.append(Due(row.id, now - age, every=every))
    return found


def _too_much(connection: sqlite3.Connection, rows: Sequence[SeriesRow], spec: Spec) -> list[Due]:
    """Return what must go for the rest of what one bound selects at a site to be within it."""
    chosen = [row for row in rows if retention.selects(spec, row.device, row.metric)]
    classes = spec.classes or STREAM_CLASSES
    before = sizes.cut(connection, [row.id for row in chosen], classes, retention.room(spec))
    if before is None:
        return []
    older = [row for row in chosen if series.oldest(connection, row, until=before) is not None]
    return [Due(row.id, before, name) for row in older for name in classes]


async def _retire(hub: Hub, site: SiteName, specs: Sequence[Spec], due: Due, reason: Reason) -> int:
    """Take away what is due, slice by slice, as long as these are the policies of the site; return how many readings."""
    if due.every:
        await _retire_spans(hub, site, specs, due)
        return 0
    database, total, after = hub.streams.database, 0, retired.BEGINNING

    def retiring(found: Sequence[retired.Old]) -> None:
        with database.transaction() as connection:
            retired.retire(connection, due.series, found, reason)

    while True:
        found = await hub.upkeep.run(
            partial(retired.oldest, series=due.series, stream_class=due.stream_class, before=due.before, after=after)
        )
        if not found or await hub.store.read(lambda _: _specs(hub, site)) != specs:
            return total
        await database.call(retiring, found)
        total += len(found)
        if len(found) < retired.SLICE:
            return total
        after = found[-1][:3]
        await hub.clock.sleep(PAUSE)


async def _retire_spans(hub: Hub, site: SiteName, specs: Sequence[Spec], due: Due) -> None:
    database = hub.streams.database

    def retiring_spans() -> int:
        with database.transaction() as connection:
            return retired.retire_spans(connection, due.series, due.every, due.before)

    while await hub.store.read(lambda _: _specs(hub, site)) == specs:
        if await database.call(retiring_spans) < retired.SLICE:
            return
        await hub.clock.sleep(PAUSE)


async def give_back(hub: Hub) -> int:
    """Give the disk back what nothing is in any more; return in how many slices."""
    database, slices = hub.streams.database, 0

    def giving(most: int) -> None:
        with database.transaction() as connection:
            freed.give_back(connection, most)

    while most := await hub.upkeep.run(freed.surplus):
        await database.call(giving, most)
        slices += 1
        await hub.clock.sleep(PAUSE)
    return slices


async def run_retention(hub: Hub) -> None:
    """Retire readings, for ever."""
    await hub.clock.sleep(FIRST)
    look = 0
    while True:
        await retire_readings(hub, ages=look % AGES == 0)
        look += 1
        await hub.clock.sleep(EVERY)
