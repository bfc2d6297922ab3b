"""Blueprints: immutable revisions, and which of them is the newest of each that exists."""

import sqlite3

import msgspec


class BlueprintRow(msgspec.Struct, frozen=True):
    name: str
    kind: str  # of its instances
    revision: int  # 1 upwards; goes on after a deletion
    digest: str  # of `source`
    source: str  # the document as written
    file: str
    line: int  # lines of the file before the document
    author: str
    at: int  # milliseconds since 1970


_COLUMNS = "name, kind, revision, digest, source, file, line, author, at"

_REVISION = "SELECT name, '', revision, digest, source, file, line, author, at FROM blueprint_revisions"


def load(connection: sqlite3.Connection) -> list[BlueprintRow]:
    """Return the newest revision of every blueprint, by name."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM blueprints JOIN blueprint_revisions USING (name, revision) ORDER BY name"  # noqa: S608 (a constant)
    )
    return [BlueprintRow(*row) for row in rows]


def next_revision(connection: sqlite3.Connection, name: str) -> int:
    found = connection.execute("SELECT max(revision) FROM blueprint_revisions WHERE name = ?", (name,)).fetchone()[0]
    return int(found or 0) + 1


def put(connection: sqlite3.Connection, row: BlueprintRow) -> None:
    """Add a revision and make it the newest."""
    connection.execute(
        "INSERT INTO blueprint_revisions (name, revision, digest, source, file, line, author, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.name, row.revision, row.digest, row.source, row.file, row.line, row.author, row.at),
    )
    connection.execute(
        "INSERT INTO blueprints (name, kind, revision) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, revision = excluded.revision",
        (row.name, row.kind, row.revision),
    )


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Forget that it exists; its revisions stay."""
    connection.execute("DELETE FROM blueprints WHERE name = ?", (name,))


def find(connection: sqlite3.Connection, name: str, revision: int) -> BlueprintRow | None:
    """Return one revision of a blueprint, with no kind; None when there never was one."""
    row = connection.execute(f"{_REVISION} WHERE name = ? AND revision = ?", (name, revision)).fetchone()
    return None if row is None else BlueprintRow(*row)


def revisions(connection: sqlite3.Connection, name: str, limit: int = 50) -> list[BlueprintRow]:
    """Return the newest revisions of a blueprint, newest first, with no kind."""
    rows = connection.execute(f"{_REVISION} WHERE name = ? ORDER BY revision DESC LIMIT ?", (name, limit))
    return [BlueprintRow(*row) for row in rows]
