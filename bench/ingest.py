"""Device messages from the site's own broker into the outbox: single readings at QoS 1, durable before acknowledged.

Two devices publish JSON messages (`bench/dataset.py`) to a real Mosquitto as fast as it takes them; measured is what the
agent's own ingest has committed, and the CPU it took (goal: 33 us are 30,000/s on one core; the broker needs one of its
own). The latency is of messages at 5,000/s, from the moment a device sends to the commit that holds them. Rivals over the
same messages: paho-mqtt's own loop with one SQLite transaction (synchronous=FULL) a message, and one that stores nothing.
"""

import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from paho.mqtt import client as paho_client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.report import Figure, median
from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.devices import run_devices
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.mqtt import Options, Subscription
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.devices import Site

MESSAGES: Final = 100_000
RIVALS: Final = 20_000  # messages a rival gets: its rate does not depend on it
DEVICES: Final = 2  # that publish at the same time
RUNS: Final = 3
PACE: Final = 5_000  # messages a second while latency is measured
PACED: Final = 20_000
QUEUES: Final = "autosave_on_changes false\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 1000"


def run() -> list[Figure]:
    with mosquitto.running("site.conf", extra=QUEUES) as broker:
        rates, cpu = zip(*(anyio.run(_ours, broker) for _ in range(RUNS)), strict=True)
        waits = anyio.run(_latency, broker)
        rival = _rival(broker)
        plain = _plain(broker)
    return [
        Figure("ingest_per_s", median(rates, 0), "readings/s", "> 30000"),
        Figure("ingest_cpu_us", median(cpu, 1), "us/reading"),
        Figure("latency_ms_p50", round(statistics.median(waits), 2), "ms", "< 20"),
        Figure("latency_ms_p99", round(statistics.quantiles(waits, n=100)[98], 2), "ms"),
        Figure("paho_sqlite_per_s", round(rival), "readings/s"),
        Figure("paho_stores_nothing_per_s", round(plain), "readings/s"),
    ]


class _Watched:
    """The outbox, noting when what was committed when."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.committed: list[tuple[float, Sequence[Reading]]] = []
        self.rows = 0
        self.cursor = outbox.cursor
        self.append_records = outbox.append_records

    async def append_readings(self, given: Sequence[Reading], **fields: Any) -> None:
        await self.outbox.append_readings(given, **fields)
        self.rows += len(given)
        if given:
            self.committed.append((time.time(), given))


async def _ours(broker: mosquitto.Mosquitto) -> tuple[float, float]:
    """Return readings a second while devices publish as fast as the broker lets them, and microseconds of CPU a reading."""
    with tempfile.TemporaryDirectory() as name:
        outbox = Outbox.open(Path(name), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
        watched = _Watched(outbox)
        async with anyio.create_task_group() as group:
            state = SourceState()
            group.start_soon(
                partial(run_devices, paho.dial, Site(port=broker.port), watched, SystemClock(), state=state)
            )
            while state.phase != "connected":
                await anyio.sleep(0.005)
            words = [sys.executable, "-m", "bench.publisher", str(broker.port), str(MESSAGES // DEVICES), "0"]
            devices = [await anyio.open_process([*words, str(number)]) for number in range(DEVICES)]
            while watched.rows < MESSAGES // 20:  # warm
                await anyio.sleep(0.001)
            began, rows, cpu = time.perf_counter(), watched.rows, time.process_time()
            while watched.rows < MESSAGES:
                await anyio.sleep(0.005)
            took, spent = time.perf_counter() - began, time.process_time() - cpu
            for device in devices:
                await device.wait()
            group.cancel_scope.cancel()
        assert watched.rows == outbox.depth()["p3"].rows == MESSAGES, "each once"
        outbox.close()
    return (MESSAGES - rows) / took, 1e6 * spent / (MESSAGES - rows)


async def _latency(broker: mosquitto.Mosquitto) -> list[float]:
    """Return milliseconds from publishing to the commit, message by message."""
    with tempfile.TemporaryDirectory() as name:
        outbox = Outbox.open(Path(name), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
        watched = _Watched(outbox)
        async with anyio.create_task_group() as group:
            group.start_soon(run_devices, paho.dial, Site(port=broker.port), watched, SystemClock())
            await anyio.sleep(1)
            words = [sys.executable, "-m", "bench.publisher", str(broker.port), str(PACED), str(PACE), "paced"]
            publisher = await anyio.open_process(words)
            while watched.rows < PACED:
                await anyio.sleep(0.01)
            await publisher.wait()
            group.cancel_scope.cancel()
        outbox.close()
    return [1000 * at - float(each.value) for at, given in watched.committed for each in given]


def _publish(broker: mosquitto.Mosquitto, count: int) -> None:
    command = [sys.executable, "-m", "bench.publisher", str(broker.port), str(count), "0", "rival"]
    subprocess.run(command, check=True)


def _leave(broker: mosquitto.Mosquitto, client_id: str) -> None:
    """Make an empty session that keeps what is published."""

    async def subscribe() -> None:
        connection = paho.dial(Options(client_id=client_id, port=broker.port, clean_start=True))
        await connection.connect()
        await connection.subscribe([Subscription("devices/#")])
        await connection.close()

    anyio.run(subscribe)


def _rival(broker: mosquitto.Mosquitto) -> float:
    with tempfile.TemporaryDirectory() as name:
        database = sqlite3.connect(Path(name) / "rival.db", isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE messages (topic TEXT, payload BLOB)")

        def store(topic: str, payload: bytes) -> None:
            database.execute("INSERT INTO messages VALUES (?, ?)", (topic, payload))

        rate = _consumed(broker, store)
        assert database.execute("SELECT count(*) FROM messages").fetchone()[0] >= RIVALS
        database.close()
    return rate


def _plain(broker: mosquitto.Mosquitto) -> float:
    return _consumed(broker, lambda *_: None)


def _consumed(broker: mosquitto.Mosquitto, store: Any) -> float:
    _leave(broker, "rival")
    _publish(broker, RIVALS)
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
    while seen < RIVALS:
        client.loop(0.1)
    took = time.perf_counter() - began
    client.disconnect()
    return RIVALS / took


if __name__ == "__main__":
    run()
