"""Audit: one event per change, in the change's transaction."""

import sqlite3
from typing import Any

import msgspec


class AuditEvent(msgspec.Struct, frozen=True):
    id: int
    at: int  # milliseconds since 1970
    actor: str
    action: str
    subject: str
    detail: Any


def add(connection: sqlite3.Connection, *, at: int, actor: str, action: str, subject: str, detail: Any) -> int:
    """Append one event and return its id; `detail` is any JSON value."""
    cursor = connection.execute(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (at, actor, action, subject, msgspec.json.encode(detail).decode()),
    )
    return int(cursor.lastrowid or 0)


def newest(connection: sqlite3.Connection, limit: int, subject: str = "") -> list[AuditEvent]:
    """Return the newest events, of one subject when named, newest first."""
    rows = connection.execute(
        "SELECT id, at, actor, action, subject, detail FROM audit WHERE ?1 IN ('', subject) ORDER BY id DESC LIMIT ?2",
        (subject, limit),
    )
    return [
        AuditEvent(number, at, actor, action, subject, msgspec.json.decode(detail))
        for number, at, actor, action, subject, detail in rows
    ]
