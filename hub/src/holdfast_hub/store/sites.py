"""Sites and the public keys of their nodes."""

import sqlite3
from collections.abc import Sequence

import msgspec

from holdfast_hub.store.hub import one, owned
from holdfast_protocol.wire.names import NodeName, Partition, SiteName, partition


class SiteRow(msgspec.Struct, frozen=True):
    name: SiteName
    at: int  # added, milliseconds since 1970
    labels: dict[str, str] = {}
    zones: tuple[str, ...] = ()
    region: str = ""
    provider: str = ""
    time_zone: str = ""  # IANA, of windows that name none; "": the node's own
    conflict: tuple[int, int] = (0, 0)  # (epoch, generation) the site claims when it is ahead of us
    conflict_digest: str = ""

    @property
    def in_conflict(self) -> bool:
        return self.conflict != (0, 0)


_SELECT = (
    "SELECT name, at, labels, zones, region, provider, time_zone, conflict_epoch, conflict_generation, conflict_digest"
    " FROM sites"
)


def _row(row: tuple[object, ...]) -> SiteRow:
    name, at, labels, zones, region, provider, time_zone, epoch, generation, digest = row
    return msgspec.convert(
        {
            "name": name,
            "at": at,
            "labels": msgspec.json.decode(str(labels)),
            "zones": msgspec.json.decode(str(zones)),
            "region": region,
            "provider": provider,
            "time_zone": time_zone,
            "conflict": (epoch, generation),
            "conflict_digest": digest,
        },
        SiteRow,
    )


def load(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> list[SiteRow]:
    """Return the sites of these partitions, by name."""
    condition, parameters = owned(partitions)
    return [_row(row) for row in connection.execute(f"{_SELECT} WHERE {condition} ORDER BY name", parameters)]


def find(connection: sqlite3.Connection, site: SiteName) -> SiteRow | None:
    """Return one site, None when there is none of this name."""
    row = one(connection, f"{_SELECT} WHERE name = ?", site)
    return None if row is None else _row(row)


def put(connection: sqlite3.Connection, row: SiteRow) -> None:
    """Add or change a site; a conflict mark is left as it is."""
    connection.execute(
        "INSERT INTO sites (name, partition, labels, zones, region, provider, time_zone, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET labels = excluded.labels, zones = excluded.zones,"
        " region = excluded.region, provider = excluded.provider, time_zone = excluded.time_zone",
        (
            row.name,
            partition(row.name),
            msgspec.json.encode(row.labels, order="sorted").decode(),
            msgspec.json.encode(row.zones).decode(),
            row.region,
            row.provider,
            row.time_zone,
            row.at,
        ),
    )
    connection.execute("DELETE FROM forgotten WHERE site = ?", (row.name,))


def delete(connection: sqlite3.Connection, site: SiteName) -> None:
    """Remove a site, its nodes and targets; the broker is told to forget it, its generation is remembered."""
    connection.execute("DELETE FROM sites WHERE name = ?", (site,))
    connection.execute("DELETE FROM targets WHERE site = ?", (site,))
    connection.execute("DELETE FROM contents WHERE digest NOT IN (SELECT digest FROM targets)")
    connection.execute("DELETE FROM problems WHERE site = ?", (site,))
    connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (site, partition(site)))


def mark_conflict(connection: sqlite3.Connection, site: SiteName, claimed: tuple[int, int], digest: str) -> None:
    """Record that the site is ahead of us; (0, 0) clears it."""
    connection.execute(
        "UPDATE sites SET conflict_epoch = ?, conflict_generation = ?, conflict_digest = ? WHERE name = ?",
        (*claimed, digest, site),
    )


def in_conflict(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> set[SiteName]:
    """Return the sites that are ahead of us."""
    condition, parameters = owned(partitions)
    rows = connection.execute(
        f"SELECT name FROM sites WHERE {condition} AND (conflict_epoch != 0 OR conflict_generation != 0)",  # noqa: S608 (placeholders)
        parameters,
    )
    return {row[0] for row in rows}


def put_node(connection: sqlite3.Connection, site: SiteName, node: NodeName, public: bytes, at: int) -> None:
    """Add a node, or give it a new key: what it signed with the old one is no longer accepted."""
    connection.execute(
        "INSERT INTO nodes (site, node, partition, public, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (site, node) DO UPDATE SET public = excluded.public, at = excluded.at",
        (site, node, partition(site), public, at),
    )


def keys(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> list[tuple[SiteName, NodeName, bytes]]:
    """Return every node's raw public key."""
    condition, parameters = owned(partitions)
    return connection.execute(f"SELECT site, node, public FROM nodes WHERE {condition}", parameters).fetchall()  # noqa: S608 (placeholders)


def forgotten(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> list[SiteName]:
    """Return deleted sites whose retained messages are still with the broker."""
    condition, parameters = owned(partitions)
    return [row[0] for row in connection.execute(f"SELECT site FROM forgotten WHERE {condition}", parameters)]  # noqa: S608 (placeholders)


def mark_forgotten(connection: sqlite3.Connection, site: SiteName) -> None:
    connection.execute("DELETE FROM forgotten WHERE site = ?", (site,))
