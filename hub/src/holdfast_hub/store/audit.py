"""Audit: one event per change, in the change's transaction, and what it was of."""

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec


class AuditEvent(msgspec.Struct, frozen=True):
    id: int
    at: int  # milliseconds since 1970
    actor: str
    action: str
    detail: Any


def add(
    connection: sqlite3.Connection, *, at: int, actor: str, action: str, subjects: Iterable[str], detail: Any
) -> int:
    """Append one event and return its id; `detail` is any JSON value."""
    cursor = connection.execute(
        "INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)",
        (at, actor, action, msgspec.json.encode(detail).decode()),
    )
    number = int(cursor.lastrowid or 0)
    connection.executemany("INSERT OR IGNORE INTO audit_subjects VALUES (?, ?)", [(each, number) for each in subjects])
    return number


def newest(connection: sqlite3.Connection, limit: int, subject: str = "") -> list[AuditEvent]:
    """Return the newest events, of one subject (Kind/name) when named, newest first."""
    which = "id IN (SELECT id FROM audit_subjects WHERE subject = ?1)" if subject else "?1 = ''"
    rows = connection.execute(
        f"SELECT id, at, actor, action, detail FROM audit WHERE {which} ORDER BY id DESC LIMIT ?2",  # noqa: S608 (constants)
        (subject, limit),
    )
    return [
        AuditEvent(number, at, actor, action, msgspec.json.decode(detail)) for number, at, actor, action, detail in rows
    ]
