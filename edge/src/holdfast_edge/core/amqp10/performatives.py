"""What the two ends of an AMQP 1.0 connection say to each other: lists of fields, each described by a number."""

import struct
from typing import Any, Final, NamedTuple

from holdfast_edge.core.amqp10.types import Described, Malformed, decoded, described, encoded

SASL: Final = 1  # the type of frames before a login is over
PLAIN: Final = 0  # the type of all others
_HEAD: Final = struct.Struct(">IBBH")  # size, where the body begins in words of four bytes, type, channel

# number name: field type, …  "*": anything, encoded already.
_SHAPES: Final = """
16 open: container-id string, hostname string, max-frame-size uint, channel-max ushort, idle-time-out uint, \
outgoing-locales *, incoming-locales *, offered-capabilities *, desired-capabilities *, properties *
17 begin: remote-channel ushort, next-outgoing-id uint, incoming-window uint, outgoing-window uint, handle-max uint
18 attach: name string, handle uint, role boolean, snd-settle-mode ubyte, rcv-settle-mode ubyte, source *, target *, \
unsettled *, incomplete-unsettled boolean, initial-delivery-count uint, max-message-size ulong
19 flow: next-incoming-id uint, incoming-window uint, next-outgoing-id uint, outgoing-window uint, handle uint, \
delivery-count uint, link-credit uint, available uint, drain boolean, echo boolean
20 transfer: handle uint, delivery-id uint, delivery-tag binary, message-format uint, settled boolean, more boolean, \
rcv-settle-mode ubyte, state *, resume boolean, aborted boolean
21 disposition: role boolean, first uint, last uint, settled boolean, state *
22 detach: handle uint, closed boolean, error *
23 end: error *
24 close: error *
29 error: condition symbol, description string
36 accepted:
37 rejected: error *
40 source: address string, durable uint, expiry-policy symbol, timeout uint
41 target: address string
64 sasl-mechanisms: sasl-server-mechanisms symbols
65 sasl-init: mechanism symbol, initial-response binary, hostname string
66 sasl-challenge: challenge binary
68 sasl-outcome: code ubyte, additional-data binary
112 header: durable boolean, priority ubyte, ttl uint, first-acquirer boolean, delivery-count uint
115 properties: message-id *, user-id binary, to string, subject string, reply-to string, correlation-id *, \
content-type symbol, content-encoding symbol
"""


def _tables() -> tuple[dict[str, tuple[int, tuple[tuple[str, str], ...]]], dict[int, str], dict[str, str]]:
    fields, names, words = {}, {}, {}
    for line in _SHAPES.strip().splitlines():
        head, _, rest = line.partition(":")
        number, name = head.split()
        pairs = [part.split() for part in rest.split(",") if part.strip()]
        fields[name] = (int(number), tuple((field, type_) for field, type_ in pairs))
        names[int(number)] = name
        words[f"amqp:{name}:list"] = name
    return fields, names, words


_FIELDS, _NAMES, _WORDS = _tables()


class Frame(NamedTuple):
    """`fields` by name, without those that are null; `payload` is what follows them, of a transfer."""

    kind: str  # "": an empty frame, which only says that its sender lives
    fields: dict[str, Any]
    payload: bytes


def made(kind: str, **fields: Any) -> bytes:
    """Return what is said, encoded; names of fields with _ for -."""
    number, shape = _FIELDS[kind]
    return described(number, [encoded(type_, fields.get(name.replace("-", "_"))) for name, type_ in shape])


def framed(body: bytes, type_: int = PLAIN) -> bytes:
    return _HEAD.pack(_HEAD.size + len(body), 2, type_, 0) + body


def part_of(value: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of a described list; ("", {}) for one that is not known here. Raises Malformed."""
    if not isinstance(value, Described):
        raise Malformed("not described")
    descriptor = value.descriptor
    name = _NAMES.get(descriptor, "") if type(descriptor) is int else _WORDS.get(str(descriptor), "")
    if not name:
        return "", {}
    if not isinstance(value.value, list):
        raise Malformed(f"{name} is no list")
    found = {}
    for (field, type_), item in zip(_FIELDS[name][1], value.value, strict=False):
        if item is None:
            continue
        if not _fits(type_, item):
            raise Malformed(f"{name}: {field} is no {type_}")
        found[field] = item
    return name, found


def frame_of(data: bytes) -> Frame:
    """Return what a frame, of which the length is right, says. Raises Malformed."""
    _, offset, _, _ = _HEAD.unpack_from(data)
    begin = 4 * offset
    if offset < 2 or begin > len(data):
        raise Malformed("a frame whose body begins outside of it")
    if begin == len(data):
        return Frame("", {}, b"")
    value, end = decoded(data, begin)
    kind, fields = part_of(value)
    return Frame(kind, fields, data[end:])


def size_of(data: bytes | bytearray) -> int:
    """Return how long the frame is that begins here; 0 while that is not known. Raises Malformed."""
    if len(data) < _HEAD.size:
        return 0
    size: int = _HEAD.unpack_from(data)[0]
    if size < _HEAD.size:
        raise Malformed(f"a frame of {size} bytes")
    return size


def _fits(type_: str, item: Any) -> bool:
    match type_:
        case "boolean":
            return isinstance(item, bool)
        case "ubyte" | "ushort" | "uint" | "ulong":
            return type(item) is int and item >= 0
        case "binary":
            return isinstance(item, bytes)
        case "string" | "symbol":
            return isinstance(item, str)
        case "symbols":
            return isinstance(item, str) or (isinstance(item, list) and all(isinstance(each, str) for each in item))
    return True
