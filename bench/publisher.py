"""python -m bench.publisher PORT COUNT PER_SECOND NAME [CORE…]: a device that publishes single readings at QoS 1.

Plain packets over a socket, made before the first is sent, so that the load costs little: it says `ready` and begins at a
line on its standard input. With a pace, each message's value is the moment it was sent, in milliseconds since 1970;
without one (0: as fast as the broker takes them) the messages are those of the data set.
"""

import contextlib
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator

from bench.dataset import readings

WINDOW = 400  # messages not acknowledged yet


def main(port: int, count: int, pace: int, client: str) -> None:
    packets: Iterable[bytes] = _paced(count) if pace else list(_stored(count))
    link = socket.create_connection(("127.0.0.1", port))
    name = f"bench-{client}".encode()
    body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name
    link.sendall(b"\x10" + bytes([len(body)]) + body)
    link.recv(4)
    print("ready", flush=True)
    sys.stdin.readline()
    waiting = iter(packets)
    sent = acknowledged = 0
    began, buffer = time.time(), bytearray()
    while acknowledged < count:
        allowed = count if not pace else min(count, int((time.time() - began) * pace))
        while sent < allowed and sent - acknowledged < WINDOW:
            buffer += next(waiting)
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


def packet(number: int, topic: bytes, payload: bytes) -> bytes:
    rest = struct.pack(">H", len(topic)) + topic + struct.pack(">H", number % 65_535 + 1) + payload
    size = len(rest)
    return b"\x32" + (bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])) + rest


def _stored(count: int) -> Iterator[bytes]:
    for number, each in enumerate(readings(count)):
        content = {"value": each.value, "time": each.time, "unit": each.unit}
        yield packet(number, f"devices/{each.device}/{each.metric}".encode(), json.dumps(content).encode())


def _paced(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield packet(number, b"devices/press-%02d/sent" % (number % 20), b"%.3f" % (time.time() * 1000))


if __name__ == "__main__":
    if sys.argv[5:]:
        os.sched_setaffinity(0, map(int, sys.argv[5:]))
    main(*map(int, sys.argv[1:4]), sys.argv[4])
