"""What devices said, in bulk: reduced to buckets of time, or every reading, page by page."""

import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, Literal

import msgspec

from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.readings import Moment, check_site
from holdfast_hub.store import buckets, series
from holdfast_hub.store.buckets import Bucket
from holdfast_hub.store.series import Chosen, Place, Row, SeriesRow, StreamName
from holdfast_protocol.errors import InputError, Problem

MAX_BUCKETS: Final = 100_000
LONGEST: Final = 366 * 86_400_000  # milliseconds of one bucket
PAGE: Final = 5_000  # readings in memory at once


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Milliseconds throughout; `every` is the length of a bucket, which begins at a multiple of it since 1970 (UTC)."""

    every: int
    site: str = ""
    device: str = ""
    metric: str = ""
    since: Moment | None = None
    until: Moment | None = None
    limit: int = 1000
    order: Literal["asc", "desc"] = "desc"  # of more than `limit` the newest are returned in any case


class Exporting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """`every`, in milliseconds: what the readings of each span came to; 0: the readings."""

    every: int = 0
    site: str = ""
    device: str = ""
    metric: str = ""
    since: Moment | None = None
    until: Moment | None = None
    form: Literal["jsonl", "csv"] = "jsonl"


class Page(msgspec.Struct, frozen=True):
    """Some readings of one series, in the order of their times."""

    series: SeriesRow
    rows: list[Row]
    streams: dict[int, StreamName]


async def reduced(hub: Hub, asked: Asked) -> list[Bucket]:
    """Return readings as buckets, with what is missing between two of them as one bucket of count 0."""
    problems = [*_length(asked.every)]
    if not 1 <= asked.limit <= MAX_BUCKETS:
        problems.append(Problem(f"must be 1 to {MAX_BUCKETS}", path="limit", hint="holdfast export gives all"))
    if problems:
        raise InputError(problems)
    chosen = Chosen(asked.site, asked.device, asked.metric, asked.since, asked.until)
    await check_site(hub, asked.site)
    found = await hub.reader.run(lambda connection: buckets.find(connection, chosen, asked.every, asked.limit))
    return found if asked.order == "desc" else found[::-1]


def _length(every: int) -> list[Problem]:
    if 1 <= every <= LONGEST:
        return []
    return [Problem(f"must be 1 to {LONGEST} milliseconds", path="every")]


async def spans(hub: Hub, asked: Exporting) -> AsyncIterator[list[Bucket]]:
    """Yield every bucket of a selection that holds something, metric by metric, the oldest first. Raises InputError."""
    if problems := _length(asked.every):
        raise InputError(problems)
    await check_site(hub, asked.site)
    chosen = Chosen(asked.site, asked.device, asked.metric, asked.since, asked.until)
    for rows in buckets.identities(await hub.reader.run(partial(series.choose, chosen=chosen))):
        while found := await hub.reader.run(
            partial(buckets.page, rows=rows, chosen=chosen, every=asked.every, limit=PAGE)
        ):
            yield found
            if len(found) < PAGE:
                break
            chosen = msgspec.structs.replace(chosen, since=found[-1].until)
        chosen = msgspec.structs.replace(chosen, since=asked.since)


async def pages(hub: Hub, asked: Exporting) -> AsyncIterator[Page]:
    """Yield every reading of a selection, series by series; what arrives meanwhile may be in it or not."""
    await check_site(hub, asked.site)
    chosen = Chosen(asked.site, asked.device, asked.metric, asked.since, asked.until)
    for row in await hub.reader.run(lambda connection: series.choose(connection, chosen)):
        after: Place | None = None
        while True:
            page = await hub.reader.run(partial(_page, row, chosen, after))
            if page.rows:
                yield page
                last = page.rows[-1]
                after = Place(last.time, last.stream, last.sequence)
            if len(page.rows) < PAGE:
                break


def _page(row: SeriesRow, chosen: Chosen, after: Place | None, connection: sqlite3.Connection) -> Page:
    found = series.page(connection, row, chosen, after, PAGE)
    return Page(row, found, series.stream_names(connection))
