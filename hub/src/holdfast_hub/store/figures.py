"""How much there is of what the hub keeps, for its own metrics."""

import sqlite3

import msgspec


class Nodes(msgspec.Struct, frozen=True):
    known: int
    connected: int


class Waiting(msgspec.Struct, frozen=True):
    """Targets that the broker was not given yet; `since` is the oldest one's, milliseconds since 1970, 0: none."""

    count: int
    since: int


class Totals(msgspec.Struct, frozen=True):
    """Of all streams there ever were."""

    streams: int
    stored: int
    tombstoned: int


def nodes(connection: sqlite3.Connection) -> Nodes:
    return Nodes(*connection.execute("SELECT count(*), coalesce(sum(online), 0) FROM nodes").fetchone())


def waiting(connection: sqlite3.Connection) -> Waiting:
    query = "SELECT count(*), coalesce(min(issued_at), 0) FROM targets WHERE published = 0"
    return Waiting(*connection.execute(query).fetchone())


def totals(connection: sqlite3.Connection) -> Totals:
    query = "SELECT count(*), coalesce(sum(stored), 0), coalesce(sum(tombstoned), 0) FROM streams"
    return Totals(*connection.execute(query).fetchone())
