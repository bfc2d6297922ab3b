"""What a sink is given once more: stored groups from a time on, stream by stream, with a place in each.

It goes on beside what comes, in its own order, and ends at what was there when it began. A reading may come twice.
"""

import secrets
import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast_hub.store import series
from holdfast_hub.store.sinks import GROUPS, Entry

BEGINNING: Final = -(2**63)


class Replayed(msgspec.Struct, frozen=True):
    """Readings to hand over once more; with them a stream is dealt with to `after`, None: wholly. `begun`: in which replay."""

    entries: list[Entry]
    missed: int
    stream: int
    begun: int
    after: int | None


def begin(connection: sqlite3.Connection, name: str, sites: Iterable[str], since: int) -> int:
    """Give a sink that has its place again what is stored of some sites, readings from a time on, instead of what is left
    of another replay.

    Return how many sequences will be looked at."""
    end(connection, name)
    begun = secrets.randbits(62)
    for site in sites:
        connection.execute(
            "INSERT INTO replays SELECT ?1, id, origin, last, ?2, ?3 FROM (SELECT id, origin,"
            " (SELECT last FROM segments WHERE stream = streams.id ORDER BY first DESC LIMIT 1) AS last"
            " FROM streams WHERE site = ?4) WHERE last > origin AND EXISTS (SELECT 1 FROM sinks WHERE name = ?1)",
            (name, since, begun, site),
        )
    return waiting(connection).get(name, 0)


def end(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM replays WHERE name = ?", (name,))


def waiting(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many sequences are left to look at, by sink."""
    return dict(connection.execute("SELECT name, sum(upto - after) FROM replays GROUP BY name"))


def take(connection: sqlite3.Connection, name: str, sites: frozenset[str], batch: int) -> Replayed | None:
    """Return the next readings of some sites, groups whole; None when nothing is left."""
    row = connection.execute(
        "SELECT replays.stream, begun, after, upto, replays.since, site, node, class, incarnation"
        " FROM replays JOIN streams ON streams.id = replays.stream WHERE name = ? LIMIT 1",
        (name,),
    ).fetchone()
    if row is None:
        return None
    number, begun, after, upto, since, site, node, stream, incarnation = row
    groups = connection.execute(
        "SELECT first, last, since, until FROM segments"
        " WHERE stream = ? AND first > ? AND first <= ? AND kind = 'readings' ORDER BY first LIMIT ?",
        (number, after, upto, GROUPS),
    ).fetchall()
    entries: list[Entry] = []
    missed, reached = 0, None
    for first, last, earliest, latest in groups if site in sites else ():
        if entries and len(entries) + last - first + 1 > batch:
            return Replayed(entries, missed, number, begun, reached)
        if latest >= since:
            found = series.of_group(connection, number, site, node, (first, last), (earliest, latest))
            missed += last - first + 1 - len(found)
            entries += [Entry(stream, incarnation, each, row) for each, row in found if row.time >= since]
        reached = last
    return Replayed(entries, missed, number, begun, reached if len(groups) == GROUPS else None)


def advance(connection: sqlite3.Connection, name: str, taken: Replayed, sent: int, refused: int, now: int) -> None:
    """Note what was dealt with."""
    place = (name, taken.stream, taken.begun)
    if taken.after is None:
        connection.execute("DELETE FROM replays WHERE name = ? AND stream = ? AND begun = ?", place)
    else:
        connection.execute(
            "UPDATE replays SET after = ? WHERE name = ? AND stream = ? AND begun = ?", (taken.after, *place)
        )
    connection.execute(
        "UPDATE sinks SET sent = sent + ?, refused = refused + ?, missed = missed + ?,"
        " sent_at = CASE WHEN ? > 0 THEN ? ELSE sent_at END WHERE name = ?",
        (sent, refused, taken.missed, sent, now, name),
    )
