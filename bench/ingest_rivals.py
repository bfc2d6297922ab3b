"""What others do with the messages of `bench/ingest.py`: paho-mqtt's own loop, and a socket that only reads."""

import os
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

import anyio
from paho.mqtt import client as paho_client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Options, Subscription
from holdfast_protocol.runtime.publishes import publishes
from support.mosquitto import Mosquitto

MESSAGES: Final = 20_000  # that a rival gets: its rate does not depend on it
Store = Callable[[str, bytes], object]


def storing(broker: Mosquitto, others: Sequence[str]) -> float:
    """Return messages a second, each in a transaction of its own."""
    with tempfile.TemporaryDirectory() as name:
        database = sqlite3.connect(Path(name) / "rival.db", isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE messages (topic TEXT, payload BLOB)")

        def store(topic: str, payload: bytes) -> None:
            database.execute("INSERT INTO messages VALUES (?, ?)", (topic, payload))

        rate = _consumed(broker, others, store)
        assert database.execute("SELECT count(*) FROM messages").fetchone()[0] >= MESSAGES
        database.close()
    return rate


def plain(broker: Mosquitto, others: Sequence[str]) -> float:
    """Return messages a second to a client that stores nothing."""
    return _consumed(broker, others, lambda *_: None)


async def leave(broker: Mosquitto, client_id: str) -> None:
    """Make an empty session that keeps what is published."""
    connection = paho.dial(Options(client_id=client_id, port=broker.port, clean_start=True))
    await connection.connect()
    await connection.subscribe([Subscription("devices/#")])
    await connection.close()


async def end(broker: Mosquitto, client_id: str) -> None:
    """End a session, so that nothing is kept for it."""
    connection = paho.dial(Options(client_id=client_id, port=broker.port, clean_start=True, session_expiry=0))
    await connection.connect()
    await connection.close()


def _consumed(broker: Mosquitto, others: Sequence[str], store: Store) -> float:
    anyio.run(leave, broker, "rival")
    command = [sys.executable, "-m", "bench.publisher", str(broker.port), str(MESSAGES), "0", "rival", *others]
    subprocess.run(command, check=True, input=b"\n", stdout=subprocess.DEVNULL)
    client = paho_client.Client(
        CallbackAPIVersion.VERSION2, client_id="rival", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    seen, began = 0, 0.0

    def take(_client: object, _data: object, message: paho_client.MQTTMessage) -> None:
        nonlocal seen, began
        began = began or time.perf_counter()
        store(message.topic, message.payload)
        client.ack(message.mid, message.qos)
        seen += 1

    client.on_message = take
    client.connect("127.0.0.1", broker.port, clean_start=False)
    while seen < MESSAGES:
        client.loop(0.1)
    took = time.perf_counter() - began
    client.disconnect()
    return MESSAGES / took


class Reader:
    """A subscriber that reads packets and acknowledges them, and nothing else."""

    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port))
        name = f"reader-{os.getpid()}".encode()
        body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name
        self._link.sendall(b"\x10" + bytes([len(body)]) + body)
        self._link.recv(4)
        topic = b"devices/#"
        body = b"\0\1" + struct.pack(">H", len(topic)) + topic + b"\1"
        self._link.sendall(b"\x82" + bytes([len(body)]) + body)
        self._link.recv(5)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def read(self, count: int) -> int:
        """Return how many were read, at least `count`, and acknowledged."""
        seen = 0
        while seen < count:
            self._buffer += self._link.recv(65_536)
            found, end = publishes(self._buffer, 0, count, len(self._buffer), with_properties=False)
            self._buffer = self._buffer[end:]
            self._link.sendall(b"".join([b"\x40\2" + each.mid.to_bytes(2, "big") for each in found]))
            seen += len(found)
        return seen
