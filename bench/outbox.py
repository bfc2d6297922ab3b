"""Readings into the outbox, durable (synchronous=FULL, on disk) before any producer goes on: 100,000 in appends of 500, as
many as the device intake takes together, by four producers at once. The data set is `bench/dataset.py`."""

import tempfile
import time
from pathlib import Path
from typing import Final

import anyio

from bench.dataset import readings
from bench.report import Figure, median
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading

ROWS: Final = 100_000
APPEND: Final = 500
PRODUCERS: Final = 4
RUNS: Final = 5


def run() -> list[Figure]:
    given = readings(ROWS)
    rates, sizes = zip(*(anyio.run(_append, given) for _ in range(RUNS)), strict=True)
    return [
        Figure("append_per_s", median(rates, 0), "readings/s", "> 150000"),
        Figure("append_per_s_worst", round(min(rates)), "readings/s"),
        Figure("disk_bytes_per_reading", median(sizes, 2), "B"),
    ]


async def _append(given: list[Reading]) -> tuple[float, float]:
    """Return readings a second and bytes of the database file a reading."""
    with tempfile.TemporaryDirectory() as name:
        outbox = Outbox.open(Path(name), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for producer in range(PRODUCERS):
                group.start_soon(
                    _produce, outbox, given[producer * ROWS // PRODUCERS : (producer + 1) * ROWS // PRODUCERS]
                )
        took = time.perf_counter() - began
        assert outbox.depth()["p3"].rows == ROWS
        outbox.close()
        return ROWS / took, (Path(name) / "outbox.db").stat().st_size / ROWS


async def _produce(outbox: Outbox, given: list[Reading]) -> None:
    for start in range(0, len(given), APPEND):
        await outbox.append_readings(given[start : start + APPEND], cursors={"bench": b"%d" % start})
