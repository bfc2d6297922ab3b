"""Batches of a million readings into the hub's store on one core: opened, verified, decoded, inserted, committed
(synchronous=FULL, on disk), and found by a query at the end. Everything but the broker; the process may use one core only.
Batches are as a site sends them after an outage; the data set is `bench/dataset.py`.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.dataset import readings
from bench.measured import peak_mib
from bench.report import Figure, median
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.wire.batch import Stamp
from support.streams import UP, Hub, sealed_page

ROWS: Final = 1_000_000
APPEND: Final = 500
AT_ONCE: Final = 4  # batches waiting together
RUNS: Final = 5


def run() -> list[Figure]:
    batches = asyncio.run(_batches())
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        rates = [asyncio.run(_ingest(batches)) for _ in range(RUNS)]
    finally:
        os.sched_setaffinity(0, cores)
    return [
        Figure("rows_per_s", median(rates, 0), "readings/s", "> 300000"),
        Figure("rows_per_s_worst", round(min(rates)), "readings/s"),
        Figure("rss_mib_max", peak_mib(os.getpid()), "MiB, with the batches and the data set"),
    ]


async def _batches() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        outbox = Outbox.open(Path(name), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
        given = readings(ROWS)
        for start in range(0, ROWS, APPEND):
            await outbox.append_readings(given[start : start + APPEND])
        found, at = [], 1
        while page := await outbox.read("p3", at, ROWS):
            found.append(sealed_page(page))
            at = page.last + 1
        outbox.close()
        return found


async def _ingest(batches: list[bytes]) -> float:
    with tempfile.TemporaryDirectory() as name:
        hub = Hub(Path(name))
        began = time.perf_counter()
        for start in range(0, len(batches), AT_ONCE):
            await hub.ingest.take([(UP["p3"], each) for each in batches[start : start + AT_ONCE]])
        took = time.perf_counter() - began
        with hub.database.reading() as connection:
            found = connection.execute("SELECT count(*), count(DISTINCT sequence) FROM readings").fetchone()
        if found != (ROWS, ROWS):
            raise RuntimeError(f"{found} rows and sequences of {ROWS}")
        hub.database.close()
        return ROWS / took
