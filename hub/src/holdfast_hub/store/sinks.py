"""How far each sink is: stored groups of readings in the order in which they came, and a place among them for each."""

import sqlite3
from typing import Final

import msgspec

from holdfast_hub.store import series
from holdfast_hub.store.series import Row, SeriesRow

MAX_WAITING: Final = 1_000_000  # groups kept for the slowest; beyond that the oldest are skipped and counted
GROUPS: Final = 200  # looked at for one batch


class Progress(msgspec.Struct, frozen=True):
    """`lag` is in readings (of all sites), `groups` in stored groups; times in milliseconds since 1970, 0: never.

    `missed` is how many readings retention took before they were handed over."""

    name: str
    position: int
    sent: int
    skipped: int
    refused: int
    sent_at: int
    since: int
    missed: int
    groups: int
    lag: int


class Entry(msgspec.Struct, frozen=True):
    """A stored reading under its identity: (site, node, stream, incarnation, sequence) is never used twice."""

    stream: str
    incarnation: str
    series: SeriesRow
    row: Row


class Taken(msgspec.Struct, frozen=True):
    """Readings to hand over, how many of the same groups retention took, and the place that is reached with them."""

    entries: list[Entry]
    missed: int
    position: int


def begin(connection: sqlite3.Connection, name: str, now: int) -> bool:
    """Give a new sink its place: after all there is. One that has a place keeps it; return whether it is new."""
    made = connection.execute(
        "INSERT INTO sinks (name, position, since)"
        " VALUES (?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'arrivals'), 0), ?) ON CONFLICT DO NOTHING",
        (name, now),
    )
    return made.rowcount > 0


def end(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM sinks WHERE name = ?", (name,))
    _trim(connection)


def begun(connection: sqlite3.Connection, name: str) -> int:
    """Return when a place was begun, milliseconds since 1970, 0 for none: one that was ended and begun anew is another."""
    row = connection.execute("SELECT since FROM sinks WHERE name = ?", (name,)).fetchone()
    return row[0] if row else 0


def names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sinks")}


def progress(connection: sqlite3.Connection) -> list[Progress]:
    rows = connection.execute(
        "SELECT name, position, sent, skipped, refused, sent_at, since, missed,"
        " (SELECT count(*) FROM arrivals WHERE arrivals.position > sinks.position),"
        " (SELECT coalesce(sum(last - first + 1), 0) FROM arrivals WHERE arrivals.position > sinks.position)"
        " FROM sinks ORDER BY name"
    )
    return [Progress(*row) for row in rows]


def take(connection: sqlite3.Connection, name: str, sites: frozenset[str] | None, batch: int) -> Taken | None:
    """Return the next readings of some sites (None: of all), groups whole; None when nothing has come.

    What was taken back since (a fork) is not there any more, nor is what was retired, which is counted.
    """
    entries: list[Entry] = []
    missed, reached = 0, None
    for position, site, node, stream, incarnation, number, first, last, since, until, stored in connection.execute(
        "SELECT position, site, node, class, incarnation, streams.id, first, last, arrivals.since, until,"
        " EXISTS (SELECT 1 FROM segments WHERE segments.stream = streams.id AND segments.first = arrivals.first)"
        " FROM arrivals JOIN streams ON streams.id = arrivals.stream"
        " WHERE position > (SELECT position FROM sinks WHERE name = ?) ORDER BY position LIMIT ?",
        (name, GROUPS),
    ).fetchall():
        if sites is None or site in sites:
            if entries and len(entries) + last - first + 1 > batch:
                break
            found = series.of_group(connection, number, site, node, (first, last), (since, until))
            missed += last - first + 1 - len(found) if stored else 0
            entries += [Entry(stream, incarnation, each, row) for each, row in found]
        reached = position
    return None if reached is None else Taken(entries, missed, reached)


def advance(connection: sqlite3.Connection, name: str, taken: Taken, sent: int, refused: int, now: int) -> None:
    """Note that everything up to a position was dealt with, and let go what no sink needs."""
    connection.execute(
        "UPDATE sinks SET position = ?, sent = sent + ?, refused = refused + ?, missed = missed + ?,"
        " sent_at = CASE WHEN ? > 0 THEN ? ELSE sent_at END WHERE name = ? AND position < ?",
        (taken.position, sent, refused, taken.missed, sent, now, name, taken.position),
    )
    _trim(connection)


def skip_oldest(connection: sqlite3.Connection, *, kept: int = MAX_WAITING) -> None:
    """Move sinks that are too far behind, and count what they miss. [inv: every-loss-is-counted]"""
    (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM arrivals").fetchone()
    connection.execute(
        "UPDATE sinks SET skipped = skipped + (SELECT count(*) FROM arrivals"
        " WHERE arrivals.position > sinks.position AND arrivals.position <= ?1), position = ?1 WHERE position < ?1",
        (newest - kept,),
    )
    _trim(connection)


def _trim(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM arrivals WHERE position <= coalesce((SELECT min(position) FROM sinks), 9223372036854775807)"
    )
