"""What the sites said last: presence, hello, status; and what of it could not be accepted."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_hub.store import heard
from holdfast_hub.store.hub import one, owned
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.messages import Hello, Presence, Status
from holdfast_protocol.wire.names import NodeName, Partition, SiteName

MESSAGE_LIMIT: Final = 500  # characters of a problem's message


class NodeRow(msgspec.Struct, frozen=True):
    """A node as it was heard of last; times are milliseconds since 1970 by the hub's clock, 0 for never."""

    site: SiteName
    node: NodeName
    online: bool
    session: str
    boot_id: str
    agent: str
    seen_at: int  # of the last message it sent itself
    epoch: int  # of the target it holds
    generation: int
    digest: str
    facts: dict[str, str]
    hello_at: int
    status_at: int
    status: Status | None  # None until the first

    @property
    def position(self) -> tuple[int, int]:
        return (self.epoch, self.generation)


class ProblemRow(msgspec.Struct, frozen=True):
    site: str
    node: str
    channel: str
    reason: str
    message: str  # of the last one
    count: int
    first_at: int
    last_at: int


_STATUS: Final = msgspec.json.Decoder(Status)
_SELECT = (
    "SELECT site, node, online, session, boot_id, agent, seen_at, epoch, generation, digest, facts, hello_at, status_at,"
    " status FROM nodes"
)


def _node(row: tuple[object, ...]) -> NodeRow:
    values = dict(zip(NodeRow.__struct_fields__, row, strict=True))
    values["facts"] = msgspec.json.decode(str(values["facts"]))
    stored = values.pop("status")
    values["status"] = None
    node = msgspec.convert(values, NodeRow, strict=False)
    return msgspec.structs.replace(node, status=_STATUS.decode(stored)) if isinstance(stored, bytes) else node


def nodes(
    connection: sqlite3.Connection, partitions: Sequence[Partition], site: SiteName | None = None
) -> list[NodeRow]:
    """Return the nodes of these partitions, or of one site, by site and name."""
    condition, parameters = owned(partitions)
    if site is not None:
        condition, parameters = f"{condition} AND site = ?", [*parameters, site]
    rows = connection.execute(f"{_SELECT} WHERE {condition} ORDER BY site, node", parameters)
    return [_node(row) for row in rows]


def node(connection: sqlite3.Connection, site: SiteName, name: NodeName) -> NodeRow | None:
    row = one(connection, f"{_SELECT} WHERE site = ? AND node = ?", site, name)
    return None if row is None else _node(row)


def facts(
    connection: sqlite3.Connection, partitions: Sequence[Partition]
) -> dict[SiteName, dict[str, tuple[str, ...]]]:
    """Return each site's facts: for each fact, the values its nodes report."""
    condition, parameters = owned(partitions)
    found: dict[SiteName, dict[str, set[str]]] = {}
    for site, stored in connection.execute(f"SELECT site, facts FROM nodes WHERE {condition}", parameters):  # noqa: S608 (placeholders)
        for key, value in msgspec.json.decode(stored, type=dict[str, str]).items():
            found.setdefault(site, {}).setdefault(key, set()).add(value)
    return {site: {key: tuple(sorted(values[key])) for key in sorted(values)} for site, values in found.items()}


def take_presence(connection: sqlite3.Connection, presence: Presence) -> bool:
    """Store a birth or death; return whether it changed anything. A death of an older session is a late will: ignored."""
    if presence.online:
        cursor = connection.execute(
            "UPDATE nodes SET online = 1, session = ?1, boot_id = ?2, agent = ?3"
            " WHERE site = ?4 AND node = ?5 AND (online = 0 OR session != ?1)",
            (presence.session, presence.boot_id, presence.agent, presence.site, presence.node),
        )
    else:
        cursor = connection.execute(
            "UPDATE nodes SET online = 0 WHERE site = ? AND node = ? AND session = ? AND online = 1",
            (presence.site, presence.node, presence.session),
        )
    return cursor.rowcount > 0


def take_hello(connection: sqlite3.Connection, hello: Hello, at: int) -> None:
    connection.execute(
        "UPDATE nodes SET online = 1, session = ?, boot_id = ?, agent = ?, seen_at = ?, epoch = ?, generation = ?,"
        " digest = ?, facts = ?, hello = ?, hello_at = ? WHERE site = ? AND node = ?",
        (
            hello.session,
            hello.boot_id,
            hello.agent,
            at,
            hello.epoch,
            hello.generation,
            hello.digest,
            msgspec.json.encode(hello.facts, order="sorted").decode(),
            strict.encode(hello),
            at,
            hello.site,
            hello.node,
        ),
    )


def take_status(connection: sqlite3.Connection, status: Status, at: int, *, live: bool) -> bool:
    """Store a status; return whether it was news. `live` false: the broker kept it, so it proves no life now."""
    held = node(connection, status.site, status.node)
    if held is None:
        return False
    if not live and held.boot_id not in ("", status.boot_id):
        return False  # kept by a broker that has gone back in time: an earlier boot's
    if not heard.take_status(connection, status):
        return False
    connection.execute(
        "UPDATE nodes SET epoch = ?, generation = ?, digest = ?, status = ?, status_at = ?, seen_at = max(seen_at, ?),"
        " online = max(online, ?) WHERE site = ? AND node = ?",
        (
            status.epoch,
            status.generation,
            status.digest,
            strict.encode(status),
            at,
            at if live else 0,
            int(live),
            status.site,
            status.node,
        ),
    )
    return True


def count_online(connection: sqlite3.Connection, since: int) -> int:
    """Return how many sites have a node online that was heard of after `since` (ms), or is new."""
    row = one(
        connection, "SELECT count(DISTINCT site) FROM nodes WHERE online = 1 AND (seen_at = 0 OR seen_at > ?)", since
    )
    return int(str(row[0])) if row is not None else 0


def mark_unheard(connection: sqlite3.Connection, partitions: Sequence[Partition]) -> None:
    """Take every node for offline until it is heard of again: the broker has lost what it knew."""
    condition, parameters = owned(partitions)
    connection.execute(f"UPDATE nodes SET online = 0 WHERE online = 1 AND {condition}", parameters)  # noqa: S608 (placeholders)


def add_problem(
    connection: sqlite3.Connection, *, site: str, node: str, channel: str, reason: str, message: str, at: int
) -> None:
    """Count what could not be accepted. [inv: every-loss-is-counted]"""
    connection.execute(
        "INSERT INTO problems VALUES (?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE"
        " SET count = count + 1, message = excluded.message, last_at = excluded.last_at",
        (site, node, channel, reason, message[:MESSAGE_LIMIT], at, at),
    )


def has_problem(connection: sqlite3.Connection, site: str, channel: str) -> bool:
    query = "SELECT 1 FROM problems WHERE site = ? AND channel = ? LIMIT 1"
    return connection.execute(query, (site, channel)).fetchone() is not None


def refused_sites(connection: sqlite3.Connection) -> set[str]:
    """Return the sites that keep their targets because what is placed there does not go together."""
    return {site for (site,) in connection.execute("SELECT site FROM problems WHERE channel = 'placement'")}


def clear_problem(connection: sqlite3.Connection, site: str, channel: str) -> None:
    connection.execute("DELETE FROM problems WHERE site = ? AND channel = ?", (site, channel))


def forget_problems(connection: sqlite3.Connection, before: int) -> None:
    """Forget what was last seen before a moment (ms); the state of a target or a placement ends by itself."""
    connection.execute("DELETE FROM problems WHERE last_at < ? AND channel NOT IN ('target', 'placement')", (before,))


def problems(connection: sqlite3.Connection, site: str | None = None) -> list[ProblemRow]:
    """Return what could not be accepted, of one site or of all, newest first."""
    where, parameters = ("", ()) if site is None else ("WHERE site = ?", (site,))
    query = f"SELECT * FROM problems {where} ORDER BY last_at DESC, site, node LIMIT 1000"  # noqa: S608 (constants)
    rows = connection.execute(query, parameters)
    return [msgspec.convert(dict(zip(ProblemRow.__struct_fields__, row, strict=True)), ProblemRow) for row in rows]
