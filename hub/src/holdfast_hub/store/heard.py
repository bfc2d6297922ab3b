"""Heard: is what a node says new, or was it said before? A broker may give us any old signed message once more.

A life of a node is a boot, and the incarnation of its p0 in it; what it says carries a number that only grows. Something
not above the highest of its life was said before. A life that goes on after another one took over is no replay: two
agents have one name, or one disk.
"""

import sqlite3
from typing import Final, Literal

from holdfast_hub.store.hub import one
from holdfast_protocol.wire.messages import Hello, Status

REMEMBERED: Final = 64  # lives of a node
_STATUS: Final = "status"

Verdict = Literal["new", "returned", "old"]


def take_hello(connection: sqlite3.Connection, hello: Hello) -> tuple[Verdict, str]:
    """Note how far a hello's life has come, if that is new; return the verdict and, for `returned`, the boot it ends.

    The newest hello once more, delivered again, is `new`: its answer may have been lost.
    """
    if not hello.boot_id:  # a kernel without boot ids: nothing to tell its lives apart by
        return "new", ""
    state = hello.streams.get("p0")
    source, counter = state.incarnation if state else "", hello.clock.boottime
    known, latest = _counter(connection, hello, source), _latest(connection, hello)
    if latest is not None and latest[:2] == (hello.boot_id, source):
        if known is not None and counter < known:
            return "old", ""
        _keep(connection, hello, source, counter, latest[2])
        return "new", ""
    if known is not None and counter <= known:
        return "old", ""
    _keep(connection, hello, source, counter, latest[2] + 1 if latest else 1)
    if known is not None and latest is not None:
        return "returned", latest[0]
    _prune(connection, hello)
    return "new", ""


def take_status(connection: sqlite3.Connection, status: Status) -> bool:
    """Note how far a status's boot has come; return False for one said before, or of a boot that another one ended."""
    if not status.boot_id:
        return True
    known, latest = _counter(connection, status, _STATUS), _latest(connection, status)
    if known is not None and status.sequence <= known:
        return False
    if latest is not None and latest[0] != status.boot_id and _said_hello(connection, status):
        return False
    _keep(connection, status, _STATUS, status.sequence, 0)
    if known is None:
        _prune(connection, status)
    return True


def _latest(connection: sqlite3.Connection, said: Hello | Status) -> tuple[str, str, int] | None:
    """Return boot, source and turn of the life that said hello last."""
    row = one(
        connection,
        "SELECT boot_id, source, turn FROM heard WHERE site = ? AND node = ? AND source != 'status'"
        " ORDER BY turn DESC LIMIT 1",
        said.site,
        said.node,
    )
    return None if row is None else (str(row[0]), str(row[1]), int(str(row[2])))


def _said_hello(connection: sqlite3.Connection, said: Status) -> bool:
    query = "SELECT 1 FROM heard WHERE site = ? AND node = ? AND boot_id = ? AND source != 'status'"
    return one(connection, query, said.site, said.node, said.boot_id) is not None


def _counter(connection: sqlite3.Connection, said: Hello | Status, source: str) -> int | None:
    row = one(
        connection,
        "SELECT counter FROM heard WHERE site = ? AND node = ? AND boot_id = ? AND source = ?",
        said.site,
        said.node,
        said.boot_id,
        source,
    )
    return None if row is None else int(str(row[0]))


def _keep(connection: sqlite3.Connection, said: Hello | Status, source: str, counter: int, turn: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?, ?, ?)",
        (said.site, said.node, said.boot_id, source, counter, turn),
    )


def _prune(connection: sqlite3.Connection, said: Hello | Status) -> None:
    """Forget the oldest lives, and statuses of boots that are not known and not the one speaking."""
    connection.execute(
        "DELETE FROM heard WHERE site = ?1 AND node = ?2 AND source != 'status' AND turn <="
        " (SELECT max(turn) FROM heard WHERE site = ?1 AND node = ?2) - ?3",
        (said.site, said.node, REMEMBERED),
    )
    connection.execute(
        "DELETE FROM heard WHERE site = ?1 AND node = ?2 AND source = 'status' AND boot_id != ?3 AND boot_id NOT IN"
        " (SELECT boot_id FROM heard WHERE site = ?1 AND node = ?2 AND source != 'status')",
        (said.site, said.node, said.boot_id),
    )
