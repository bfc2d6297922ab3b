"""PUBLISH packets out of a buffer, many at a time: the one packet of which there are tens of thousands a second. Pure.

Only what is whole and plain is taken; whatever else stands next is left, for the client library to take or to judge.
"""

from typing import Final

from holdfast_protocol.runtime.mqtt import Delivery

_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04


def publishes(buffer: bytes, at: int, most: int, limit: int, *, with_properties: bool) -> tuple[list[Delivery], int]:
    """Return the deliveries that begin at `at`, and where what is not taken begins: at most so many, of `limit` bytes.

    `with_properties`: MQTT 5. A topic that is not UTF-8 is kept readable, as it must reach someone who acknowledges it.
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
                start += length
        if start > stop or topic_end == place + 2 or (qos and not mid):
            break
        topic = buffer[place + 2 : topic_end].decode("utf-8", "replace")
        found.append(Delivery(topic, buffer[start:stop], qos, bool(first & 1), bool(first & 8), mid))
        at = stop
    return found, at


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
