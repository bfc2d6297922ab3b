"""Bytes a reading on the way to the hub: signed batches as they are published, over the readings in them.

The data set is `bench/dataset.py`: 20 presses, five metrics each once a second, times that jitter, noise. `bytes_per_reading`
is a backlog as a site sends it after an outage, appended 500 at a time; `_live` is a connected site that sends the hundred
readings of each second at once; `_trickle` a backlog of one reading a second from a site that has nothing more to say. Rivals:
bytes of TCP payload towards the far end for 50,000 of the readings as JSON, in the same run.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench import bridge, leaf
from bench.dataset import as_json, readings
from bench.report import Figure
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.wire import topics
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support.streams import UP, sealed_page

BACKLOG: Final = 200_000
LIVE: Final = 100  # readings of one second
SECONDS: Final = 60
TRICKLE: Final = 5_000
PUBLISHED: Final = 2 + 3 + 2 + len(topics.topic(UP["p3"])) + 2 + 1  # MQTT 5 around a payload
RIVALS: Final = 50_000
DOWN: Final = 3.0  # seconds


def run() -> list[Figure]:
    given = readings(BACKLOG)
    lines = [as_json(reading) for reading in given[:RIVALS]]
    return [
        Figure("bytes_per_reading", asyncio.run(_backlog(given, 500)), "B", "< 6"),
        Figure("bytes_per_reading_live", asyncio.run(_live(given[: LIVE * SECONDS])), "B"),
        Figure("bytes_per_reading_trickle", asyncio.run(_backlog(given[:TRICKLE], 1)), "B", "< 6"),
        Figure("bridge_bytes_per_reading", _rounded(asyncio.run(bridge.drain(lines, DOWN)).bytes_per_reading), "B"),
        Figure("nats_bytes_per_reading", _rounded(asyncio.run(leaf.drain(lines, DOWN)).bytes_per_reading), "B"),
        Figure("json_bytes_per_reading", _rounded(sum(map(len, lines)) / len(lines)), "B"),
    ]


def _rounded(value: float) -> float:
    return round(value, 2)


def _open(folder: str) -> Outbox:
    return Outbox.open(Path(folder), quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))


async def _backlog(given: list[Reading], at_once: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        outbox = _open(name)
        for start in range(0, len(given), at_once):
            await outbox.append_readings(given[start : start + at_once])
        size = await _sent(outbox, 1)
        outbox.close()
        return _rounded(size / len(given))


async def _live(given: list[Reading]) -> float:
    with tempfile.TemporaryDirectory() as name:
        outbox, size = _open(name), 0
        for start in range(0, len(given), LIVE):
            await outbox.append_readings(given[start : start + LIVE])
            size += await _sent(outbox, start + 1)
        outbox.close()
        return _rounded(size / len(given))


async def _sent(outbox: Outbox, first: int) -> int:
    """Return the bytes of everything from `first` on."""
    high, size = outbox.states()["p3"].high, 0
    while page := await outbox.read("p3", first, high):
        size += len(sealed_page(page)) + PUBLISHED
        first = page.last + 1
    return size
