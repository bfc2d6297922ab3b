"""python -m bench.publisher PORT COUNT PER_SECOND NAME: a device that publishes single readings at QoS 1, as fast as it may.

Plain packets over a socket, so that the load costs little. With a pace, each message's value is the moment it was sent,
in milliseconds since 1970; without one (0) the messages are those of the data set.
"""

import contextlib
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator

from bench.dataset import readings

WINDOW = 400  # messages not acknowledged yet


def main(port: int, count: int, pace: int, client: str) -> None:
    link = socket.create_connection(("127.0.0.1", port))
    name = f"bench-{client}".encode()
    body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name
    link.sendall(b"\x10" + bytes([len(body)]) + body)
    link.recv(4)
    messages = _paced(count) if pace else _stored(count)
    sent = acknowledged = 0
    began, buffer = time.time(), bytearray()
    while acknowledged < count:
        allowed = count if not pace else min(count, int((time.time() - began) * pace))
        while sent < allowed and sent - acknowledged < WINDOW:
            topic, payload = next(messages)
            mid = sent % 65_535 + 1
            rest = struct.pack(">H", len(topic)) + topic + struct.pack(">H", mid) + payload
            size = len(rest)
            length = bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])
            buffer += b"\x32" + length + rest
            sent += 1
        if buffer:
            link.sendall(buffer)
            buffer.clear()
        if sent > acknowledged:
            link.settimeout(None if sent - acknowledged >= WINDOW or sent == count else 0.001)
            with contextlib.suppress(TimeoutError):
                acknowledged += len(link.recv(65_536)) / 4
        else:
            time.sleep(0.0005)
    link.sendall(b"\xe0\0")
    link.close()


def _stored(count: int) -> Iterator[tuple[bytes, bytes]]:
    for each in readings(count):
        content = {"value": each.value, "time": each.time, "unit": each.unit}
        yield f"devices/{each.device}/{each.metric}".encode(), json.dumps(content).encode()


def _paced(count: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        yield b"devices/press-%02d/sent" % (number % 20), b"%.3f" % (time.time() * 1000)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
