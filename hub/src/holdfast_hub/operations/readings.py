"""What devices said, and the account of it: readings, gaps, the ledger of a site's streams."""

import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import coarse, retired, series, streams
from holdfast_hub.store.readings import EVER, MAX_LIMIT, StoredReading, newest
from holdfast_hub.store.retired import Loss
from holdfast_hub.store.series import Chosen
from holdfast_hub.store.streams import Gap, StreamLedger
from holdfast_protocol.errors import InputError, NotFoundError, Problem
from holdfast_protocol.wire.names import SiteName

GAPS: Final = 200  # shown with one answer
MAX_HOLES: Final = 1000  # shown with an account
Moment = Annotated[int, msgspec.Meta(ge=-EVER, le=EVER)]  # milliseconds since 1970


class Asked(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which readings; empty names mean any, times are in milliseconds since 1970 (`from` included, `to` not)."""

    site: str = ""
    device: str = ""
    metric: str = ""
    since: Moment | None = None
    until: Moment | None = None
    limit: int = 1000
    order: Literal["asc", "desc"] = "desc"  # by time; of more than `limit` the newest are returned in any case


class SiteGap(msgspec.Struct, frozen=True):
    site: str
    gap: Gap


class Taken(msgspec.Struct, frozen=True):
    """What retention took of a metric; `tiers` are the lengths, in milliseconds, of the copies that still know of it."""

    site: str
    node: str
    device: str
    metric: str
    loss: Loss
    tiers: list[int]


class Readings(msgspec.Struct, frozen=True):
    """`gaps` are what never came; `retired` is what came and was taken away, of the times asked for."""

    items: list[StoredReading]
    gaps: list[SiteGap]
    retired: list[Taken]


class StreamAccount(msgspec.Struct, frozen=True):
    """`exact`: sent = stored + tombstoned + retired + pending, and nothing pends of a history that gets no more.

    `retired` were stored, and taken away by a Retention."""

    node: str
    stream: str
    incarnation: str
    state: str
    sent: int
    stored: int
    tombstoned: int
    retired: int
    pending: int
    exact: bool
    gaps: list[tuple[int, int, str]]  # first, last, reason


class Ledger(msgspec.Struct, frozen=True):
    site: str
    streams: list[StreamAccount]
    exact: bool


async def check_site(hub: Hub, site: str) -> None:
    """Raise NotFoundError for a site, if one is named, that is none and never was: a deleted one has its readings still."""
    if not site or await hub.store.read(lambda _: SiteName(site) in hub.fleet.sites):
        return
    if not await hub.streams.reader.run(lambda connection: streams.has_spoken(connection, site)):
        raise NotFoundError(f"no site {site[:80]!r}", reason="NoSuchSite", hint="holdfast get sites")


async def readings(hub: Hub, asked: Asked) -> Readings:
    """Return readings of one site, or of all. Raises InputError, NotFoundError."""
    if not 1 <= asked.limit <= MAX_LIMIT:
        raise InputError([Problem(f"must be 1 to {MAX_LIMIT}", path="limit", hint="holdfast export gives all")])
    await check_site(hub, asked.site)
    sites = await _sites(hub, asked.site)
    chosen = Chosen(asked.site, asked.device, asked.metric, asked.since, asked.until)

    def reading(connection: sqlite3.Connection) -> Readings:
        found = newest(connection, sites, asked.device, asked.metric, asked.since, asked.until, asked.limit)
        return Readings(
            found if asked.order == "desc" else found[::-1], _gaps(connection, sites), _taken(connection, chosen)
        )

    return await hub.reader.run(reading)


def _gaps(connection: sqlite3.Connection, sites: Sequence[str]) -> list[SiteGap]:
    every = (SiteGap(site, gap) for site in sites for gap in streams.gaps(connection, site, GAPS))
    return list(islice(every, GAPS))


def _taken(connection: sqlite3.Connection, chosen: Chosen) -> list[Taken]:
    found: list[Taken] = []
    for row in series.taken_from(connection, chosen, GAPS):
        losses = retired.losses(connection, row.id)
        for loss in losses:
            if loss.every == 0 and _meets(loss, chosen):
                copies = coarse.lengths(connection, row.id)
                lacking = {each.every for each in losses if each.since < loss.until and loss.since < each.until}
                tiers = [every for every in copies if every not in lacking]
                found.append(Taken(row.site, row.node, row.device, row.metric, loss, tiers))
    return found[:GAPS]


def _meets(loss: Loss, chosen: Chosen) -> bool:
    return (chosen.since is None or chosen.since < loss.until) and (chosen.until is None or loss.since < chosen.until)


async def _sites(hub: Hub, site: str) -> list[str]:
    """Return the sites asked for; a deleted one still has its readings."""
    return [site] if site else await hub.store.read(lambda _: [str(name) for name in sorted(hub.fleet.sites)])


async def ledger(hub: Hub, site: str) -> Ledger:
    """Return the account of every stream of a site. Raises NotFoundError for one never heard of."""

    def reading(
        connection: sqlite3.Connection,
    ) -> tuple[list[StreamLedger], dict[tuple[str, str, str], int], list[Gap]]:
        account = streams.ledger(connection, site)
        return account, retired.counts(connection, site), streams.gaps(connection, site, MAX_HOLES)

    accounts, gone, holes = await hub.streams.reader.run(reading)
    if not accounts:
        await hub.store.read(lambda _: hub.fleet.site(site))
    gaps: dict[tuple[str, str, str], list[tuple[int, int, str]]] = {}
    for gap in holes:
        gaps.setdefault((gap.node, gap.stream, gap.incarnation), []).append((gap.first, gap.last, gap.reason))
    found = [
        StreamAccount(
            each.node,
            each.stream,
            each.incarnation,
            each.state,
            each.sent,
            each.stored - gone.get((each.node, each.stream, each.incarnation), 0),
            each.tombstoned,
            gone.get((each.node, each.stream, each.incarnation), 0),
            each.pending,
            each.sent == each.stored + each.tombstoned + each.pending and (each.state == "open" or not each.pending),
            sorted(gaps.get((each.node, each.stream, each.incarnation), ())),
        )
        for each in accounts
    ]
    return Ledger(site, found, all(each.exact for each in found))
