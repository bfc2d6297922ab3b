"""Devices: which there are and their newest values (readings.db), and what people say of them (hub.db)."""

import sqlite3
from typing import Any, Final

import msgspec

from holdfast_hub.store import series
from holdfast_hub.store.series import Chosen
from holdfast_protocol.wire.readings import Value

MAX_LISTED: Final = 10_000  # of a site, as in the schema
MAX_METRICS: Final = 2_000  # of a device that are looked at, by name


class Metric(msgspec.Struct, frozen=True):
    """One metric and its newest reading by the time of the reading, None when retention took it."""

    metric: str
    unit: str
    node: str
    value: Value | None
    time: int | None  # milliseconds since 1970
    quality: str


class DeviceRow(msgspec.Struct, frozen=True):
    site: str
    device: str
    first_seen: int  # milliseconds since 1970, hub's clock
    last_seen: int  # the time of its newest reading; 0: none is left
    node: str  # that sent it
    metrics: tuple[Metric, ...]


class Words(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}
    forgotten: int | None = None


class Desired(msgspec.Struct, frozen=True):
    site: str
    device: str
    version: int
    properties: dict[str, Any]
    author: str
    at: int
    node: str
    delivered: int
    delivered_at: int


_DESIRED: Final = (
    "SELECT site, device, version, properties, author, at, node, delivered, delivered_at FROM device_desired"
)


def find(connection: sqlite3.Connection, site: str, device: str, limit: int) -> list[DeviceRow]:
    """Return the first `limit` devices by site and name, of all sites when `site` is "". Reads readings.db."""
    where, values = series.selected({"site": site, "device": device})
    listed = connection.execute(
        f"SELECT site, device, first_seen FROM devices WHERE {where} ORDER BY site, device LIMIT ?",  # noqa: S608 (constants)
        (*values, limit),
    ).fetchall()
    return [_device(connection, *row) for row in listed]


def _device(connection: sqlite3.Connection, site: str, device: str, first_seen: int) -> DeviceRow:
    newest: dict[tuple[str, str], Metric] = {}
    for row in series.every(connection, Chosen(site, device), MAX_METRICS):
        end = series.newest(connection, row)
        value, time = (None, None) if end is None else (end.value, end.time)
        one = Metric(row.metric, row.unit, row.node, value, time, row.quality)
        held = newest.get((row.metric, row.unit))
        if held is None or (one.time is not None and (held.time is None or one.time > held.time)):
            newest[row.metric, row.unit] = one
    metrics = tuple(sorted(newest.values(), key=lambda one: (one.metric, one.unit)))
    last = max(metrics, key=lambda one: one.time or 0)
    return DeviceRow(site, device, first_seen, last.time or 0, last.node, metrics)


def spoke_elsewhere(connection: sqlite3.Connection, site: str, device: str, node: str) -> bool:
    """Return whether another node, too, has sent readings of a device. Reads readings.db."""
    query = "SELECT 1 FROM series WHERE site = ? AND device = ? AND node != ? LIMIT 1"
    return connection.execute(query, (site, device, node)).fetchone() is not None


def words(connection: sqlite3.Connection, site: str = "") -> dict[tuple[str, str], Words]:
    """Return what people say of devices, by site and device."""
    rows = connection.execute(
        "SELECT site, device, labels, forgotten FROM device_words WHERE ?1 = '' OR site = ?1", (site,)
    )
    return {(at, device): Words(msgspec.json.decode(labels), gone) for at, device, labels, gone in rows}


def keep_words(connection: sqlite3.Connection, site: str, device: str, said: Words) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO device_words (site, device, labels, forgotten) VALUES (?, ?, ?, ?)",
        (site, device, msgspec.json.encode(said.labels).decode(), said.forgotten),
    )


def desired(connection: sqlite3.Connection, site: str, device: str) -> Desired | None:
    row = connection.execute(f"{_DESIRED} WHERE site = ? AND device = ?", (site, device)).fetchone()
    return _desired(row) if row else None


def undelivered(connection: sqlite3.Connection, site: str, node: str) -> list[Desired]:
    """Return what a node was not told yet, or has not said it took."""
    query = f"{_DESIRED} WHERE site = ? AND node = ? AND delivered < version ORDER BY device"
    return [_desired(row) for row in connection.execute(query, (site, node))]


def desire(connection: sqlite3.Connection, wanted: Desired) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO device_desired VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            wanted.site,
            wanted.device,
            wanted.version,
            msgspec.json.encode(wanted.properties).decode(),
            wanted.author,
            wanted.at,
            wanted.node,
            wanted.delivered,
            wanted.delivered_at,
        ),
    )


def mark_delivered(connection: sqlite3.Connection, wanted: Desired, at: int) -> None:
    """Note that the site holds a version, for the device whenever it asks."""
    connection.execute(
        "UPDATE device_desired SET delivered = ?, delivered_at = ? WHERE site = ? AND device = ? AND version = ?",
        (wanted.version, at, wanted.site, wanted.device, wanted.version),
    )


def _desired(row: tuple[Any, ...]) -> Desired:
    site, device, version, properties, *rest = row
    return Desired(site, device, version, msgspec.json.decode(properties), *rest)
