"""Commands to devices: kept until they have ended, and then as long as there is room. [inv: commit-before-ack]"""

import sqlite3
from typing import Any, Final, Literal

import msgspec

MAX_WAITING: Final = 1_000  # of one site
MAX_KEPT: Final = 10_000  # ended ones of one site
State = Literal["waiting", "answered", "failed", "expired"]


class DeviceCommand(msgspec.Struct, frozen=True):
    """Times in milliseconds since 1970, hub's clock; `sent` and `ended` 0: not yet. `state` is final but for `waiting`."""

    id: str
    site: str
    node: str
    device: str
    name: str
    data: Any
    deadline: int
    author: str
    at: int
    sent: int = 0
    state: State = "waiting"
    reason: str = ""
    answer: Any = None
    ended: int = 0


_FIELDS: Final = tuple(DeviceCommand.__struct_fields__)
_SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM device_commands "  # noqa: S608 (constants)


def add(connection: sqlite3.Connection, command: DeviceCommand) -> None:
    """Store a new command; the oldest ended ones of its site go when there are too many."""
    values = msgspec.structs.asdict(command)
    values |= {key: msgspec.json.encode(values[key]).decode() for key in ("data", "answer")}
    connection.execute(
        f"INSERT INTO device_commands ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})",  # noqa: S608 (constants)
        [values[field] for field in _FIELDS],
    )
    connection.execute(
        "DELETE FROM device_commands WHERE id IN (SELECT id FROM device_commands WHERE site = ? AND state != 'waiting'"
        " ORDER BY ended DESC LIMIT -1 OFFSET ?)",
        (command.site, MAX_KEPT),
    )


def waiting(connection: sqlite3.Connection, site: str, node: str = "") -> list[DeviceCommand]:
    """Return the commands of a site, or one node, that have not ended, oldest first."""
    query = _SELECT + "WHERE state = 'waiting' AND site = ?1 AND (?2 = '' OR node = ?2) ORDER BY at, id"
    return [_command(row) for row in connection.execute(query, (site, node))]


def over(connection: sqlite3.Connection, before: int) -> list[DeviceCommand]:
    """Return the commands that wait and whose deadline was before a time."""
    query = _SELECT + "WHERE state = 'waiting' AND deadline < ? ORDER BY at, id"
    return [_command(row) for row in connection.execute(query, (before,))]


def newest(connection: sqlite3.Connection, site: str, device: str, limit: int) -> list[DeviceCommand]:
    query = _SELECT + "WHERE site = ? AND device = ? ORDER BY at DESC, id LIMIT ?"
    return [_command(row) for row in connection.execute(query, (site, device, limit))]


def get(connection: sqlite3.Connection, name: str) -> DeviceCommand | None:
    row = connection.execute(_SELECT + "WHERE id = ?", (name,)).fetchone()
    return _command(row) if row else None


def mark_sent(connection: sqlite3.Connection, name: str, at: int) -> None:
    """Note that a command is about to leave for the first time: from now on the device may have it."""
    connection.execute("UPDATE device_commands SET sent = ? WHERE id = ? AND sent = 0", (at, name))


def end(connection: sqlite3.Connection, name: str, state: State, reason: str, answer: Any, at: int) -> bool:
    """End a command; False when it had ended: what was said first stays."""
    done = connection.execute(
        "UPDATE device_commands SET state = ?, reason = ?, answer = ?, ended = ? WHERE id = ? AND state = 'waiting'",
        (state, reason, msgspec.json.encode(answer).decode(), at, name),
    )
    return done.rowcount == 1


def _command(row: tuple[Any, ...]) -> DeviceCommand:
    values = dict(zip(_FIELDS, row, strict=True))
    values |= {key: msgspec.json.decode(values[key]) for key in ("data", "answer")}
    return DeviceCommand(**values)
