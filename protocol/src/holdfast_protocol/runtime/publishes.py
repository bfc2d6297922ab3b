"""PUBLISH packets out of a buffer, many at a time: the one packet of which there are tens of thousands a second. Pure.

Only what is whole and plain is taken; whatever else stands next is left, for the client library to take or to judge.
"""

from typing import Final

from holdfast_protocol.runtime.mqtt import Delivery

_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04
_PAIR: Final = 0x26
_FIXED: Final = {0x01: 1, 0x02: 4, 0x23: 2}  # bytes of these properties
_COUNTED: Final = frozenset({0x03, 0x08, 0x09})  # two bytes say how long they are
_VARIABLE: Final = 0x0B


def publishes(
    buffer: bytes, at: int, most: int, limit: int, *, with_properties: bool, of_user: bool = False
) -> tuple[list[Delivery], int]:
    """Return the deliveries that begin at `at`, and where what is not taken begins: at most so many, of `limit` bytes.

    `with_properties`: MQTT 5, `of_user`: and the user's are wanted. Text that is not UTF-8 is kept readable, as a message must
    reach someone who acknowledges it.
    """
    found: list[Delivery] = []
    end = len(buffer)
    while len(found) < most and at + 2 <= end:
        first = buffer[at]
        if first & 0xF0 != _PUBLISH or first & _QOS_2:
            break
        size, place = buffer[at + 1], at + 2
        if size & 0x80:
            size, place = _varint(buffer, at + 1)
            if place < 0:
                break
        stop = place + size
        if stop > end or size < 2 or size > limit:
            break
        topic_end = place + 2 + (buffer[place] << 8 | buffer[place + 1])
        start, mid, qos = topic_end, 0, first >> 1 & 1
        if qos:
            start += 2
            if start > stop:
                break
            mid = buffer[topic_end] << 8 | buffer[topic_end + 1]
        pairs: tuple[tuple[str, str], ...] = ()
        if with_properties:
            if start >= stop:
                break
            length = buffer[start]
            start += 1
            if length:
                if length & 0x80:
                    length, start = _varint(buffer, start - 1)
                    if start < 0:
                        break
                if of_user:
                    pairs = _pairs(buffer[start : min(start + length, stop)])
                start += length
        if start > stop or topic_end == place + 2 or (qos and not mid):
            break
        topic = buffer[place + 2 : topic_end].decode("utf-8", "replace")
        found.append(Delivery(topic, buffer[start:stop], qos, bool(first & 1), bool(first & 8), mid, pairs))
        at = stop
    return found, at


def varint(value: int) -> bytes:
    """Return a length as it stands before what it is of."""
    found = bytearray()
    while True:
        value, low = divmod(value, 128)
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """Return a length and where it ends, -1 when it is not whole or none."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(buffer):
            break
        value |= (buffer[at] & 0x7F) << shift
        at += 1
        if not buffer[at - 1] & 0x80:
            return value, at
    return 0, -1


def _pairs(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Return the user's among a message's properties, up to what is none."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(raw):
        kind, at = raw[at], at + 1
        if kind == _PAIR:
            name, at = _counted(raw, at)
            value, at = _counted(raw, at)
            if at > len(raw):
                break
            found.append((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind in _COUNTED:
            at = _counted(raw, at)[1]
        elif kind != _VARIABLE or (at := _varint(raw, at)[1]) < 0:
            break
    return tuple(found)


def _counted(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return bytes after their length, and where they end: after the end of `raw` when they are not whole."""
    if at + 2 > len(raw):
        return b"", len(raw) + 1
    end = at + 2 + (raw[at] << 8 | raw[at + 1])
    return raw[at + 2 : end], end
