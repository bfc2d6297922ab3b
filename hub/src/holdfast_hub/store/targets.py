"""Targets: what each site was told to be, and the outbox of what the broker has not been given yet.

A generation is allocated in the transaction of the change and never twice. Content is stored once per digest, since
most sites of a placement share it. Equal rows give equal signed bytes, whenever they are published.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from holdfast_hub.store.hub import one, owned
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.wire.names import Digest, Partition, SiteName, partition

KEPT: Final = 10  # targets of a site, the newest included
AGAIN: Final = 60_000  # milliseconds until a target not taken is published a third time, doubled up to the next
LONGEST_AGAIN: Final = 3_600_000


class TargetRow(msgspec.Struct, frozen=True):
    site: SiteName
    epoch: int
    generation: int
    digest: Digest  # of the content
    previous: str
    issued_at: int  # milliseconds since 1970
    published: bool
    published_at: int = 0

    @property
    def position(self) -> tuple[int, int]:
        return (self.epoch, self.generation)


_COLUMNS = "t.site, t.epoch, t.generation, t.digest, t.previous, t.issued_at, t.published = 1, t.published_at"
_NEWEST = f"SELECT {_COLUMNS} FROM generations g JOIN targets t ON t.site = g.site AND t.generation = g.generation"  # noqa: S608 (constants)


def _row(row: tuple[object, ...]) -> TargetRow:
    return msgspec.convert(dict(zip(TargetRow.__struct_fields__, row, strict=True)), TargetRow, strict=False)


def newest(connection: sqlite3.Connection, site: SiteName) -> TargetRow | None:
    """Return the site's newest target, None while it has none."""
    row = one(connection, f"{_NEWEST} WHERE t.site = ?", site)
    return None if row is None else _row(row)


def all_newest(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> dict[SiteName, TargetRow]:
    """Return the newest target of every site of these partitions that has one."""
    condition, parameters = owned(partitions)
    rows = (_row(row) for row in connection.execute(f"{_NEWEST} WHERE t.{condition}", parameters))
    return {row.site: row for row in rows}


def placements(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> dict[SiteName, str]:
    """Return what the newest target of every site was composed from, as `allocate` was told."""
    condition, parameters = owned(partitions)
    rows = connection.execute(
        "SELECT t.site, t.placed FROM generations g JOIN targets t ON t.site = g.site"  # noqa: S608 (constants)
        f" AND t.generation = g.generation WHERE t.{condition}",
        parameters,
    )
    return {row[0]: row[1] for row in rows}


def allocate(
    connection: sqlite3.Connection,
    site: SiteName,
    *,
    epoch: int,
    digest: Digest,
    body: bytes,
    at: int,
    above: int = 0,
    placed: str = "",
) -> TargetRow:
    """Add the site's next target, with a generation greater than every one before and than `above`.

    `placed` stands for the names of what it was composed from; see `placements`.
    """
    before = newest(connection, site)
    allocated = one(
        connection,
        "INSERT INTO generations VALUES (?, ? + 1) ON CONFLICT (site) DO UPDATE"
        " SET generation = max(generation, excluded.generation - 1) + 1 RETURNING generation",
        site,
        above,
    )
    assert allocated is not None
    row = TargetRow(site, epoch, int(str(allocated[0])), digest, before.digest if before else "", at, published=False)
    connection.execute("UPDATE targets SET published = 2 WHERE site = ? AND published = 0", (site,))
    connection.execute("INSERT OR IGNORE INTO contents VALUES (?, ?)", (digest, body))
    connection.execute(
        "INSERT INTO targets (site, epoch, generation, partition, digest, previous, issued_at, placed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (site, epoch, row.generation, partition(site), digest, row.previous, at, placed),
    )
    _prune(connection, site)
    return row


def _prune(connection: sqlite3.Connection, site: SiteName) -> None:
    gone = connection.execute(
        "DELETE FROM targets WHERE site = ?1 AND generation <="
        " (SELECT generation FROM targets WHERE site = ?1 ORDER BY generation DESC LIMIT 1 OFFSET ?2) RETURNING digest",
        (site, KEPT),
    ).fetchall()
    connection.executemany(
        "DELETE FROM contents WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM targets WHERE digest = ?1)", gone
    )


def is_stored(connection: sqlite3.Connection, digest: str) -> bool:
    """Return whether some target still has this content."""
    return one(connection, "SELECT 1 FROM contents WHERE digest = ?", digest) is not None


def body(connection: sqlite3.Connection, digest: str) -> bytes:
    """Return the encoded content of a stored target."""
    row = one(connection, "SELECT body FROM contents WHERE digest = ?", digest)
    if row is None or not isinstance(row[0], bytes):
        raise MisuseError(f"no target has the content {digest}")
    return row[0]


def waiting(connection: sqlite3.Connection, partitions: Sequence[Partition], limit: int) -> list[TargetRow]:
    """Return newest targets the broker was not given yet; none of a site in conflict."""
    condition, parameters = owned(partitions)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM targets t JOIN sites s ON s.name = t.site"  # noqa: S608 (constants and placeholders)
        f" WHERE t.{condition} AND t.published = 0 AND s.conflict_epoch = 0 AND s.conflict_generation = 0"
        " ORDER BY t.issued_at, t.site LIMIT ?",
        [*parameters, limit],
    )
    return [_row(row) for row in rows]


def mark_published(connection: sqlite3.Connection, rows: Iterable[TargetRow], at: int) -> None:
    connection.executemany(
        "UPDATE targets SET published = 1, published_at = ? WHERE site = ? AND epoch = ? AND generation = ?"
        " AND published = 0",
        [(at, row.site, row.epoch, row.generation) for row in rows],
    )


def mark_refused(connection: sqlite3.Connection, row: TargetRow) -> None:
    """Take a target out of the outbox that the broker cannot carry."""
    connection.execute(
        "UPDATE targets SET published = 3 WHERE site = ? AND epoch = ? AND generation = ? AND published = 0",
        (row.site, row.epoch, row.generation),
    )


def mark_waiting(connection: sqlite3.Connection, sites: Iterable[SiteName]) -> None:
    """Have the newest targets of these sites published again."""
    connection.executemany(
        "UPDATE targets SET published = 0 WHERE site = ?1 AND published IN (1, 3)"
        " AND generation = (SELECT generation FROM generations WHERE site = ?1)",
        [(site,) for site in sites],
    )


def mark_lagging(connection: sqlite3.Connection, sites: Iterable[SiteName], now: int) -> bool:
    """Have the newest targets of sites that were not given them published again: at once, and then ever more rarely.

    A site may never take it; of one that has, the broker holds another in its place, and no time is lost. Return whether
    anything waits now. A time ahead of `now` (ms) is of a clock set back.
    """
    cursor = connection.executemany(
        "UPDATE targets SET published = 0, tries = tries + 1 WHERE site = ?1 AND published IN (1, 3)"
        " AND generation = (SELECT generation FROM generations WHERE site = ?1)"
        " AND (tries = 0 OR published_at > ?2 OR published_at + min(?3 << min(tries - 1, 10), ?4) <= ?2"
        " OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.site = ?1"
        " AND (n.epoch, n.generation, n.digest) != (targets.epoch, targets.generation, targets.digest)))",
        [(site, now, AGAIN, LONGEST_AGAIN) for site in sites],
    )
    return cursor.rowcount > 0


def mark_held(connection: sqlite3.Connection, site: SiteName) -> None:
    """Note that a site holds its newest target: should it lose it, it is helped at once."""
    connection.execute("UPDATE targets SET tries = 0 WHERE site = ? AND tries > 0", (site,))


def mark_all_waiting(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> None:
    """Have every site's newest target published again: the broker has lost what it held."""
    condition, parameters = owned(partitions)
    names = [row[0] for row in connection.execute(f"SELECT name FROM sites WHERE {condition}", parameters)]  # noqa: S608 (placeholders)
    mark_waiting(connection, names)


def floor(connection: sqlite3.Connection, site: SiteName) -> int:
    """Return the last generation given out to a site of this name, 0 for none."""
    row = one(connection, "SELECT generation FROM generations WHERE site = ?", site)
    return int(str(row[0])) if row is not None else 0


def lagging(connection: sqlite3.Connection, partitions: Sequence[Partition], before: int) -> list[SiteName]:
    """Return sites with a node online that holds another target than the one published before a moment (ms)."""
    condition, parameters = owned(partitions)
    rows = connection.execute(
        "SELECT DISTINCT t.site FROM nodes n JOIN generations g ON g.site = n.site"  # noqa: S608 (placeholders)
        " JOIN targets t ON t.site = g.site AND t.generation = g.generation JOIN sites s ON s.name = t.site"
        f" WHERE n.{condition} AND n.online = 1 AND t.published = 1 AND t.published_at < ?"
        " AND (n.epoch, n.generation, n.digest) != (t.epoch, t.generation, t.digest)"
        " AND s.conflict_epoch = 0 AND s.conflict_generation = 0",
        [*parameters, before],
    )
    return [row[0] for row in rows]


def count_waiting(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM targets WHERE published = 0").fetchone()[0])
