"""Sparkplug's topics, and the names its devices and metrics have here.

A device is `group:edge-node:device`, an edge node itself `group:edge-node`; a metric keeps its name, slashes included.
What is not a letter, a digit or one of _ . - stands as @ and two hexadecimal digits for each byte of its UTF-8, so that
two names never become one and none can be mistaken for anything else.
"""

import re
from typing import Final, Literal, get_args

import msgspec

from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.readings import MAX_NAME

NAMESPACE: Final = "spBv1.0"
MAX_LEVEL: Final = 256  # characters of a group's, edge node's or device's own name
Kind = Literal["NBIRTH", "NDEATH", "NDATA", "NCMD", "DBIRTH", "DDEATH", "DDATA", "DCMD"]
KINDS: Final = frozenset(get_args(Kind))
HEARD: Final = ("NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PLAIN_METRIC: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]|^[.-]")
_ODD_METRIC: Final = re.compile(r"[^A-Za-z0-9_./-]|^[./-]")
_RESERVED: Final = re.compile(r"[+#/@\x00-\x1f\x7f]")
_LEVEL: Final = re.compile(r"[^+#/\x00-\x1f\x7f\ud800-\udfff]+")


class Topic(msgspec.Struct, frozen=True):
    """`device` is "" in what concerns the edge node itself."""

    group: str
    kind: Kind
    node: str
    device: str = ""

    def __str__(self) -> str:
        end = f"/{self.device}" if self.device else ""
        return f"{NAMESPACE}/{self.group}/{self.kind}/{self.node}{end}"


def topic_of(text: str) -> Topic:
    """Return what a topic says; raises Unfit `BadTopic`."""
    root, *levels = text.split("/")
    kind = levels[1] if len(levels) > 1 else ""
    if root != NAMESPACE or kind not in KINDS or len(levels) != (4 if kind[0] == "D" else 3):
        raise Unfit("BadTopic", f"not {NAMESPACE}/GROUP/KIND/NODE or, of a device, …/DEVICE")
    for level in (levels[0], *levels[2:]):
        if len(level) > MAX_LEVEL or not _LEVEL.fullmatch(level):
            raise Unfit("BadName", f"a name of 1 to {MAX_LEVEL} characters without + # / and controls was expected")
    return Topic(levels[0], kind, levels[2], levels[3] if len(levels) == 4 else "")  # type: ignore[arg-type]  # in KINDS


def state_topic(host_id: str) -> str:
    return f"{NAMESPACE}/STATE/{host_id}"


def filters(groups: tuple[str, ...], host_id: str) -> tuple[str, ...]:
    """Return what a host subscribes to: every group when none is named. Its own state comes last."""
    heard = [
        f"{NAMESPACE}/{group}/{kind}/+" + ("/+" if kind[0] == "D" else "")
        for group in groups or ("+",)
        for kind in HEARD
    ]
    return (*heard, state_topic(host_id))


def device_id(group: str, node: str, device: str = "") -> str:
    """Return the device's name here; raises Unfit `BadName` when it is too long."""
    parts = (group, node, device) if device else (group, node)
    return _fitting(":".join(part if _PLAIN.fullmatch(part) else _ODD.sub(_escaped, part) for part in parts))


def metric_id(name: str) -> str:
    """Return the metric's name here; raises Unfit `BadName` when it is empty or too long."""
    return _fitting(name if _PLAIN_METRIC.fullmatch(name) else _ODD_METRIC.sub(_escaped, name))


def level_of(name: str) -> str:
    """Return a name of ours as a topic level: what MQTT reserves is escaped, and @ itself."""
    return _RESERVED.sub(_escaped, name)


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"@{byte:02X}" for byte in found[0].encode())


def _fitting(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise Unfit("BadName", f"{name[:80]!r} is not 1 to {MAX_NAME} characters")
    return name
