"""Topics: the only place that joins or splits them, and the one table of what each is for.

`hf/1` is root and version. The broker's access control, docs/protocol.md and the code all come from `TABLE`.
Nothing from a device ever becomes a topic level.
"""

import re
from typing import Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.names import (
    NodeName,
    Partition,
    SiteName,
    is_hex,
    node_name,
    partition,
    site_name,
)

ROOT: Final = "hf/1"
STREAM_CLASSES: Final = ("p0", "p1", "p2", "p3")
StreamClass = Literal["p0", "p1", "p2", "p3"]
Party = Literal["hub", "node", "any"]

KiB: Final = 1024
MiB: Final = 1024 * KiB


class Channel(msgspec.Struct, frozen=True):
    """How one kind of topic is used. `expiry` is in seconds; None means the broker keeps it for ever."""

    name: str
    pattern: str
    publisher: Party
    reader: Party
    retain: bool
    limit: int  # bytes of a payload
    what: str
    expiry: int | None = None
    qos: Literal[0, 1] = 1


TABLE: Final[dict[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel("target", "{p}/{site}/target", "hub", "node", True, 4 * MiB, "the signed target, whole"),
        Channel("doc", "{p}/{site}/doc/{id}", "hub", "node", True, 4 * MiB, "a large part of a target"),
        Channel("beacon", "{p}/{site}/beacon", "hub", "node", True, 16 * KiB, "signed: this is your newest target"),
        Channel("dn", "{p}/{site}/{node}/dn", "hub", "node", False, 256 * KiB, "acknowledgements, credit, resync"),
        Channel("cmd", "{p}/{site}/{node}/cmd/{id}", "hub", "node", False, 256 * KiB, "a command with a deadline"),
        Channel("presence", "{p}/{site}/{node}/presence", "node", "hub", True, 16 * KiB, "birth and death (will)"),
        Channel("hello", "{p}/{site}/{node}/hello", "node", "hub", False, 64 * KiB, "state vector"),
        Channel("status", "{p}/{site}/{node}/status", "node", "any", True, 1 * MiB, "conditions, digests, holds"),
        Channel(
            "up",
            "{p}/{site}/{node}/up/{class}",
            "node",
            "hub",
            False,
            1 * MiB,
            "a batch of one ordered stream",
        ),
        Channel("reply", "{p}/{site}/{node}/reply/{id}", "node", "hub", False, 1 * MiB, "answers to a command"),
        Channel("root", "fleet/trust/root/{n}", "hub", "any", True, 512 * KiB, "a version of the trust root"),
        Channel("revoked", "fleet/trust/revoked", "hub", "any", True, 1 * MiB, "the revocation list"),
        Channel("hub", "fleet/hub", "hub", "any", True, 16 * KiB, "a hub is there (will)"),
        Channel("enroll-request", "enroll/{id}/request", "any", "hub", False, 64 * KiB, "a machine asks to join"),
        Channel("enroll-response", "enroll/{id}/response", "hub", "any", False, 256 * KiB, "the hub's answer"),
    )
}


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """One topic, parsed. Fields a channel does not have stay empty."""

    channel: str
    site: SiteName = SiteName("")
    node: NodeName = NodeName("")
    id: str = ""  # of a command, reply, document, machine or root version
    stream: str = ""  # p0 to p3, for `up`


_ID: Final = re.compile(r"[0-9a-z]([-0-9a-z]*[0-9a-z])?")
_FIELDS: Final = {"{site}": "site", "{node}": "node", "{id}": "id", "{n}": "id", "{class}": "stream"}
_PATTERNS: Final = {name: tuple(channel.pattern.split("/")) for name, channel in TABLE.items()}


def topic(address: Address) -> str:
    """Return the topic of an address; raises WireError when a level would not be a legal one."""
    levels = [ROOT]
    for level in _PATTERNS[address.channel]:
        if level == "{p}":
            levels.append(partition(site_name(address.site)))
        elif level in _FIELDS:
            value = str(getattr(address, _FIELDS[level]))
            _check_level(level, value, address.channel)
            levels.append(value)
        else:
            levels.append(level)
    return "/".join(levels)


def parse(text: str) -> Address:
    """Return the address of a topic: the inverse of `topic`. Raises WireError for any other text."""
    levels = text.split("/")
    if "/".join(levels[:2]) == ROOT:
        for name, pattern in _PATTERNS.items():
            if len(pattern) == len(levels) - 2 and (found := _match(name, pattern, levels[2:])):
                return found
    raise WireError(f"no such topic: {text[:200]!r}", reason="UnknownTopic")


def _match(name: str, pattern: tuple[str, ...], levels: list[str]) -> Address | None:
    values: dict[str, str] = {}
    for expected, level in zip(pattern, levels, strict=True):
        if expected in _FIELDS:
            values[_FIELDS[expected]] = level
        elif expected == "{p}":
            values["p"] = level
        elif expected != level:
            return None
    try:
        for expected, level in zip(pattern, levels, strict=True):
            if expected in _FIELDS:
                _check_level(expected, level, name)
    except WireError:
        return None
    if "site" in values and values.pop("p", None) != partition(site_name(values["site"])):
        return None
    return msgspec.convert({"channel": name, **values}, Address)


def _check_level(level: str, value: str, channel: str) -> None:
    if level == "{site}":
        site_name(value)
    elif level == "{node}":
        node_name(value)
    elif level == "{class}":
        if value not in STREAM_CLASSES:
            raise WireError(f"no stream class {value[:20]!r}", reason="BadName")
    elif level == "{n}":
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and value == str(int(value))):
            raise WireError(f"root version {value[:20]!r} is not a number", reason="BadName")
    elif channel == "doc":
        if not is_hex(value, 64):
            raise WireError("a document is named by its digest", reason="BadName")
    elif len(value) > 64 or not _ID.fullmatch(value):
        raise WireError(f"bad identifier {value[:80]!r}", reason="BadName")


def filter_for(channel: str, p: Partition | None = None) -> str:
    """Return the subscription filter of a channel: every site of partition `p`, or of all when None."""
    levels = [(p or "+") if level == "{p}" else "+" if level in _FIELDS else level for level in _PATTERNS[channel]]
    return "/".join([ROOT, *levels])


def filter_of(channel: str, site: SiteName, node: NodeName) -> str:
    """Return the subscription filter of one node's channel, whatever the id in it."""
    values = {"{p}": partition(site_name(site)), "{site}": site_name(site), "{node}": node_name(node), "{id}": "+"}
    return "/".join([ROOT, *(values.get(level, level) for level in _PATTERNS[channel])])


def client_id(site: SiteName, node: NodeName) -> str:
    """Return a node's client identifier: what its certificate will name."""
    return f"{site}.{node}"
