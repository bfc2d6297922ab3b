"""Coarser copies and sizes at work: what has been stored is added to them, a slice at a time, beside ingest.

Slices are reckoned on a connection that only reads and written in short transactions. One task does all of it, and takes
readings away as well: what it has read nobody changes before it writes.
"""

from collections.abc import Sequence
from typing import Final

from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import folding
from holdfast_hub.store.folding import Beginning, Run, Step

AT_ONCE: Final = 2_000  # copies begun in one transaction
PAUSE: Final = 0.02  # seconds between two slices, for whoever else waits for the disk


async def fold(hub: Hub) -> int:
    """Add to copies and sizes what has been stored and is decided; return how many slices there were."""
    slices = 0
    while (run := await hub.upkeep.run(folding.next_run)) is not None:
        await _fold(hub, run)
        slices += 1
        await hub.clock.sleep(PAUSE)
    return slices


async def _fold(hub: Hub, run: Run) -> None:
    part = await hub.upkeep.run(lambda connection: folding.part_of(connection, run))

    def writing() -> None:
        with hub.streams.database.transaction() as connection:
            folding.take_in(connection, run, part)

    await hub.streams.database.call(writing)


async def make_copies(hub: Hub, site: str, missing: Sequence[tuple[int, int]]) -> None:
    """Make copies of a site's series that are not there, by series and length, and finish those that were left half made."""

    def starting(some: Sequence[tuple[int, int]]) -> None:
        with hub.streams.database.transaction() as connection:
            folding.watch(connection, site)
            folding.start(connection, some)

    for first in range(0, len(missing), AT_ONCE):
        await hub.streams.database.call(starting, missing[first : first + AT_ONCE])
        await hub.clock.sleep(PAUSE)
    for each in await hub.upkeep.run(lambda connection: folding.beginnings(connection, site)):
        await _make(hub, each)


async def _make(hub: Hub, each: Beginning) -> None:
    while True:
        step = await advance(hub, each)
        if step.upto is None:
            return
        each = Beginning(each.series, each.every, step.upto)
        await hub.clock.sleep(PAUSE)


async def advance(hub: Hub, each: Beginning) -> Step:
    """Make the next slice of a copy."""
    step = await hub.upkeep.run(lambda connection: folding.next_step(connection, each))

    def writing() -> None:
        with hub.streams.database.transaction() as connection:
            folding.make(connection, each, step)

    await hub.streams.database.call(writing)
    return step
