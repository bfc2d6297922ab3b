"""Device messages from the site's own broker into the outbox: single readings at QoS 1, durable before acknowledged.

The agent's process has one core for itself; a real Mosquitto and the devices have the others. Devices publish JSON messages
(`bench/dataset.py`) as fast as the broker takes them; measured is what the agent's own ingest has committed, second after
second, and the CPU its process took (33 us are 30,000/s on one core). Every message is found in the outbox afterwards,
once. `mosquitto_per_s` is the ceiling of such a run: what the same broker hands to a socket that only reads and
acknowledges. `backlog_per_s`: as many messages wait at the broker when the agent comes. The latency is of messages at
5,000/s, from the moment a device sends to the commit that holds them. Rivals over the same messages on the same core:
paho-mqtt's own loop with one SQLite transaction (synchronous=FULL) a message, and one that stores nothing.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import Process

from bench import ingest_rivals as rivals
from bench.report import Figure, median
from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.devices import CLIENT_ID, run_devices
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.devices import Site

MESSAGES: Final = 200_000
DEVICES: Final = 2  # that publish at the same time
RUNS: Final = 3
PACE: Final = 5_000  # messages a second while latency is measured
PACED: Final = 20_000
SETTLE: Final = 0.5  # seconds for the last acknowledgements, so that the next run begins with an empty session
TICKS: Final = os.sysconf("SC_CLK_TCK")
QUEUES: Final = "autosave_on_changes false\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 2000"


def run() -> list[Figure]:
    with mosquitto.running("site.conf", extra=QUEUES) as broker, _apart(broker) as others:
        rates, cpu, brokers = zip(*(anyio.run(_ours, broker, others) for _ in range(RUNS)), strict=True)
        backlog = anyio.run(_backlog, broker, others)
        waits = anyio.run(_latency, broker, others)
        ceiling = anyio.run(_ceiling, broker, others)
        stored = rivals.storing(broker, others)
        plain = rivals.plain(broker, others)
    return [
        Figure("ingest_per_s", median(rates, 0), "readings/s", "> 30000"),
        Figure("ingest_cpu_us", median(cpu, 1), "us/reading"),
        Figure("mosquitto_cpu_us", median(brokers, 1), "us/reading"),
        Figure("mosquitto_per_s", round(ceiling), "messages/s"),
        Figure("backlog_per_s", round(backlog), "readings/s"),
        Figure("latency_ms_p50", round(statistics.median(waits), 2), "ms", "< 20"),
        Figure("latency_ms_p99", round(statistics.quantiles(waits, n=100)[98], 2), "ms"),
        Figure("paho_sqlite_per_s", round(stored), "readings/s"),
        Figure("paho_stores_nothing_per_s", round(plain), "readings/s"),
    ]


@contextmanager
def _apart(broker: mosquitto.Mosquitto) -> Iterator[tuple[str, ...]]:
    """Keep this process on one core and the broker on the others, where there are any; yield those."""
    cores = os.sched_getaffinity(0)
    ours = {max(cores)}
    others = cores - ours or ours
    os.sched_setaffinity(broker.pid, others)
    os.sched_setaffinity(0, ours)  # threads made from now on inherit it
    try:
        yield tuple(map(str, others))
    finally:
        os.sched_setaffinity(0, cores)


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


@asynccontextmanager
async def _ingest(broker: mosquitto.Mosquitto, count: int) -> AsyncIterator[_Watched]:
    """Run the agent's ingest, connected; at the end `count` messages are in the outbox, each once."""
    with tempfile.TemporaryDirectory() as name:
        outbox = Outbox.open(Path(name), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
        watched, state = _Watched(outbox), SourceState()
        async with anyio.create_task_group() as group:
            site = Site(port=broker.port)
            group.start_soon(partial(run_devices, paho.dial, site, watched, SystemClock(), state=state))
            while state.phase != "connected":
                await anyio.sleep(0.001)
            yield watched
            await anyio.sleep(SETTLE)
            group.cancel_scope.cancel()
        await rivals.end(broker, CLIENT_ID)
        assert watched.rows == outbox.depth()["p3"].rows == count, "each once"
        outbox.close()


async def _devices(broker: mosquitto.Mosquitto, others: Sequence[str], count: int, pace: int = 0) -> list[Process]:
    """Return devices that are ready to publish, and do so at a line each."""
    number = 1 if pace else DEVICES
    words = [sys.executable, "-m", "bench.publisher", str(broker.port), str(count // number), str(pace)]
    found = [await anyio.open_process([*words, str(each), *others], stderr=None) for each in range(number)]
    for each in found:
        assert each.stdout is not None
        await each.stdout.receive()
    return found


async def _begin(devices: Sequence[Process]) -> None:
    for each in devices:
        assert each.stdin is not None
        await each.stdin.send(b"\n")


async def _ours(broker: mosquitto.Mosquitto, others: Sequence[str]) -> tuple[float, float, float]:
    """Return readings a second while devices publish as fast as the broker lets them, and microseconds of CPU a reading,
    the agent's and the broker's."""
    async with _ingest(broker, MESSAGES) as watched:
        devices = await _devices(broker, others, MESSAGES)
        await _begin(devices)
        while watched.rows < MESSAGES // 20:  # warm
            await anyio.sleep(0.001)
        began, rows, cpu, brokers = time.perf_counter(), watched.rows, time.process_time(), _cpu(broker.pid)
        while watched.rows < MESSAGES:
            await anyio.sleep(0.005)
        took, spent, brokers = time.perf_counter() - began, time.process_time() - cpu, _cpu(broker.pid) - brokers
        for each in devices:
            await each.wait()
    taken = MESSAGES - rows
    return taken / took, 1e6 * spent / taken, 1e6 * brokers / taken


async def _backlog(broker: mosquitto.Mosquitto, others: Sequence[str]) -> float:
    """Return readings a second from the connection on, when all messages wait already."""
    await rivals.leave(broker, CLIENT_ID)
    devices = await _devices(broker, others, MESSAGES)
    await _begin(devices)
    for each in devices:
        await each.wait()
    async with _ingest(broker, MESSAGES) as watched:
        began, rows = time.perf_counter(), watched.rows
        while watched.rows < MESSAGES:
            await anyio.sleep(0.005)
        return (MESSAGES - rows) / (time.perf_counter() - began)


async def _latency(broker: mosquitto.Mosquitto, others: Sequence[str]) -> list[float]:
    """Return milliseconds from publishing to the commit, message by message."""
    async with _ingest(broker, PACED) as watched:
        (device,) = await _devices(broker, others, PACED, PACE)
        await _begin([device])
        while watched.rows < PACED:
            await anyio.sleep(0.01)
        await device.wait()
    return [1000 * at - float(each.value) for at, given in watched.committed for each in given]


async def _ceiling(broker: mosquitto.Mosquitto, others: Sequence[str]) -> float:
    """Return messages a second to a reader that does nothing with them."""
    devices = await _devices(broker, others, MESSAGES)
    with rivals.Reader(broker.port) as reader:
        await _begin(devices)
        warm = reader.read(MESSAGES // 20)
        began = time.perf_counter()
        taken = reader.read(MESSAGES - warm)
        took = time.perf_counter() - began
    for each in devices:
        await each.wait()
    return taken / took


def _cpu(pid: int) -> float:
    """Return the seconds of CPU a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    run()
