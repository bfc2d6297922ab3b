"""Devices and their twins: what each last said, what it shall be, and what people call it."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.readings import check_site
from holdfast_hub.store import audit, commands, devices
from holdfast_hub.store.devices import Desired, DeviceRow, Metric, Words
from holdfast_protocol.errors import InputError, NotFoundError, Problem, WireError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.commands import MAX_DATA, MAX_DEPTH, depth
from holdfast_protocol.wire.labels import is_label_key, is_label_value
from holdfast_protocol.wire.levels import is_sayable

HISTORY: Final = 20  # commands and audit events shown with one device
MAX_PROPERTIES: Final = 256
MAX_LABELS: Final = 64


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str = ""
    limit: int = 1_000


class DeviceItem(msgspec.Struct, frozen=True):
    """Times in milliseconds since 1970: `first_seen` by the hub's clock, `last_seen` that of the newest reading."""

    name: str  # site/device
    site: str
    device: str
    node: str
    metrics: int
    first_seen: int
    last_seen: int
    labels: dict[str, str]


class Property(msgspec.Struct, frozen=True):
    """One property that somebody asked for, and the newest reading of the metric of its name.

    `settled`: the reading came with the value asked for, and is later than the asking.
    """

    property: str
    desired: Any
    reported: Any
    reported_at: int | None
    settled: bool


class Twin(msgspec.Struct, frozen=True):
    version: int
    at: int
    author: str
    delivered: int | None  # when its site took this version; None: not yet
    properties: list[Property]


async def list_devices(hub: Hub, asked: Listing) -> list[DeviceItem]:
    """Return devices by site and name; those forgotten are not there until they speak again."""
    if not 1 <= asked.limit <= devices.MAX_LISTED:
        raise InputError([Problem(f"must be 1 to {devices.MAX_LISTED}", path="limit")])
    await check_site(hub, asked.site)
    said = await hub.store.read(lambda connection: devices.words(connection, asked.site))
    wanted = asked.limit + sum(words.forgotten is not None for words in said.values())
    rows = await hub.reader.run(lambda connection: devices.find(connection, asked.site, "", wanted))
    return [_item(row, words) for row in rows if _is_listed(row, words := said.get((row.site, row.device), Words()))][
        : asked.limit
    ]


async def show_device(hub: Hub, site: str, device: str) -> dict[str, Any]:
    """Return everything known of one device. Raises NotFoundError."""
    row, words = await known(hub, site, device)

    def reading(connection: sqlite3.Connection) -> dict[str, Any]:
        wanted = devices.desired(connection, site, device)
        return {
            **msgspec.to_builtins(_item(row, words)),
            "metrics": row.metrics,
            "twin": None if wanted is None else _twin(wanted, row.metrics),
            "commands": commands.newest(connection, site, device, HISTORY),
            "history": audit.newest(connection, HISTORY, _subject(site, device)),
        }

    return await hub.store.read(reading)


async def known(hub: Hub, site: str, device: str) -> tuple[DeviceRow, Words]:
    """Return a device and what is said of it. Raises NotFoundError for one that never spoke, or is forgotten."""
    rows = await hub.reader.run(lambda connection: devices.find(connection, site, device, 1)) if site and device else []
    said = (await hub.store.read(lambda connection: devices.words(connection, site))).get((site, device), Words())
    if not rows or not _is_listed(rows[0], said):
        raise NotFoundError(f"no device {site}/{device}"[:300], reason="NoSuchDevice", hint="holdfast get devices")
    return rows[0], said


async def label_device(
    hub: Hub, site: str, device: str, labels: Mapping[str, str | None], *, author: str
) -> DeviceItem:
    """Set labels, None takes one away. Raises NotFoundError, InputError."""
    row, said = await known(hub, site, device)
    kept = {key: value for key, value in {**said.labels, **labels}.items() if value is not None}
    problems = [
        Problem(f"{key[:80]!r} with value {value[:80]!r} is no label", path="labels")
        for key, value in kept.items()
        if not (is_label_key(key) and is_label_value(value))
    ]
    if len(kept) > MAX_LABELS:
        problems.append(Problem(f"more than {MAX_LABELS} labels", path="labels"))
    if problems:
        raise InputError(problems)
    words = Words(kept)
    await _keep(hub, row, words, author, "label-device", {"labels": kept})
    return _item(row, words)


async def forget_device(hub: Hub, site: str, device: str, *, author: str) -> dict[str, Any]:
    """Take a device off the list, with its labels, until a reading comes that is later than all it sent."""
    row, _ = await known(hub, site, device)
    await _keep(hub, row, Words({}, row.last_seen), author, "forget-device", {})
    return {"deleted": f"device/{site}/{device}"}


async def _keep(hub: Hub, row: DeviceRow, words: Words, author: str, action: str, detail: dict[str, Any]) -> None:
    def keeping(connection: sqlite3.Connection) -> None:
        hub.fleet.site(row.site)
        devices.keep_words(connection, row.site, row.device, words)
        _note(hub, connection, row, author, action, detail)

    await hub.store.write(keeping)


async def desire(hub: Hub, site: str, device: str, properties: Mapping[str, Any], *, author: str) -> dict[str, Any]:
    """Set properties a device shall have, None takes one away; its site is told when it is there.

    Raises NotFoundError, InputError.
    """
    row, _ = await known(hub, site, device)
    if problems := _wrong(row, properties):
        raise InputError(problems)

    def writing(connection: sqlite3.Connection) -> None:
        hub.fleet.site(site)
        held = devices.desired(connection, site, device)
        before = held.properties if held is not None else {}
        kept = {key: value for key, value in {**before, **properties}.items() if value is not None}
        if len(kept) > MAX_PROPERTIES or len(strict.encode(kept)) > MAX_DATA:
            raise InputError([Problem(f"more than {MAX_PROPERTIES} properties or {MAX_DATA} bytes", path="properties")])
        version = held.version + 1 if held is not None else 1
        devices.desire(connection, Desired(site, device, version, kept, author, hub.now(), row.node, 0, 0))
        _note(hub, connection, row, author, "desire", {"version": version, "properties": dict(properties)})

    await hub.store.write(writing)
    hub.feed.tell("command", f"{site}/{row.node}")
    return await show_device(hub, site, device)


def unsayable(data: Any, path: str) -> list[Problem]:
    """Return what keeps a node from taking some JSON that is for a device."""
    if depth(data) > MAX_DEPTH:
        return [Problem(f"deeper than {MAX_DEPTH}", path=path)]
    try:
        strict.parse(strict.encode(data), limit=MAX_DATA)
    except WireError as error:
        return [Problem(error.message, path=path)]
    return []


def _wrong(row: DeviceRow, properties: Mapping[str, Any]) -> list[Problem]:
    found = []
    if not properties:
        found.append(Problem("name at least one property", path="properties"))
    if not is_sayable(row.device):
        found.append(Problem("this device's name is none", path="device", hint="1 to 256 characters without controls"))
    for key, value in properties.items():
        if not is_sayable(key):
            found.append(Problem(f"{key[:80]!r} is no name of a property", path="properties"))
        found += unsayable(value, f"properties.{key[:80]}")
    return found


def _note(
    hub: Hub, connection: sqlite3.Connection, row: DeviceRow, author: str, action: str, detail: dict[str, Any]
) -> None:
    subjects = (_subject(row.site, row.device), f"Site/{row.site}")
    detail = {"device": f"{row.site}/{row.device}", **detail}
    audit.add(connection, at=hub.now(), actor=author, action=action, subjects=subjects, detail=detail)


def _subject(site: str, device: str) -> str:
    return f"Device/{site}/{device}"


def _is_listed(row: DeviceRow, words: Words) -> bool:
    return words.forgotten is None or row.last_seen > words.forgotten


def _item(row: DeviceRow, words: Words) -> DeviceItem:
    name = f"{row.site}/{row.device}"
    return DeviceItem(
        name, row.site, row.device, row.node, len(row.metrics), row.first_seen, row.last_seen, words.labels
    )


def _twin(wanted: Desired, metrics: Sequence[Metric]) -> Twin:
    newest: dict[str, Metric] = {}
    for one in metrics:
        held = newest.get(one.metric)
        if held is None or (one.time or 0) > (held.time or 0):
            newest[one.metric] = one
    properties = []
    for name, value in sorted(wanted.properties.items()):
        said = newest.get(name)
        settled = said is not None and said.value == value and (said.time or 0) >= wanted.at
        reported, at = (None, None) if said is None else (said.value, said.time)
        properties.append(Property(name, value, reported, at, settled))
    taken = wanted.delivered_at if wanted.delivered == wanted.version else None
    return Twin(wanted.version, wanted.at, wanted.author, taken, properties)
