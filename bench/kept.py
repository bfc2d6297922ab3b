"""What the hub keeps, on its real store and disk (synchronous=FULL): 400,000 readings of five metrics over four days, with
copies of ten minutes, an hour and a day made of them; a question about all of it by the hour, answered by a copy and, in the
same run, by the readings; then a bound in bytes that takes half of them away while groups of 500 go on being stored, beside
the same with nothing to take away; then all but a mebibyte goes, and the file is given back to the disk.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from bench.dataset import START, readings
from bench.report import Figure, median
from holdfast_hub.blueprint import retention
from holdfast_hub.operations import history
from holdfast_hub.operations.history import Asked
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.retention import retire_readings
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.device_data import Sender
from support.hubs import add_site, hub_at, put

ROWS: Final = 400_000
GROUP: Final = 500
DAY: Final = 86_400_000
DAYS: Final = 4
BATCHES: Final = 200  # sent while something is taken away, and while nothing is
METRIC: Final = ("press-00", "temperature")


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name, hub_at(Path(name), SystemClock()) as hub:
        return asyncio.run(_measure(hub))


async def _measure(hub: Hub) -> list[Figure]:
    await hub.load()
    await add_site(hub)
    sender = Sender(hub)
    given = _spread(readings(ROWS), hub.now())
    for start in range(0, ROWS, GROUP):
        sender.send(*given[start : start + GROUP])
    before = _size(hub)
    raw = await _asked(hub)
    calm = await _sending(sender, hub.now())
    await put(hub, _policy("maxBytes: 1Ei, tiers: [{every: 10m}, {every: 1h}, {every: 1d}]"))
    began = time.perf_counter()
    await retire_readings(hub)
    copied = time.perf_counter() - began
    copies = await _asked(hub)
    held = await hub.reader.run(lambda connection: connection.execute("SELECT sum(bytes) FROM sizes").fetchone()[0])
    await put(hub, _policy(f"maxBytes: '{held // 2}'"))
    busy: list[float] = []
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        going = group.create_task(retire_readings(hub))
        while not going.done():
            busy += await _sending(sender, hub.now(), 1)
    took = time.perf_counter() - began
    full = _size(hub)
    await put(hub, _policy("maxBytes: 1Mi"))
    await retire_readings(hub)
    after = _size(hub)
    return [
        Figure("reading_counted_bytes", round(held / (ROWS + BATCHES * GROUP), 1), "B"),
        Figure("reading_file_bytes", round(before / ROWS, 1), "B"),
        Figure("copies_rows_per_s", round((ROWS + BATCHES * GROUP) / copied), "readings/s"),
        Figure("question_by_hour_of_readings_ms", raw, "ms"),
        Figure("question_by_hour_of_copy_ms", copies, "ms"),
        Figure("retired", going.result(), "readings"),
        Figure("retired_per_s", round(going.result() / took), "readings/s"),
        Figure("commit_ms_p50", median(calm, 2), "ms"),
        Figure("commit_while_retiring_ms_p50", median(busy, 2), "ms"),
        Figure("commit_ms_max", round(max(calm), 2), "ms"),
        Figure("commit_while_retiring_ms_max", round(max(busy), 2), "ms"),
        Figure("file_before_mib", round(full / 2**20, 1), "MiB"),
        Figure("file_after_mib", round(after / 2**20, 1), "MiB, of which 1 are readings and 4 free"),
    ]


def _policy(spec: str) -> str:
    return f"apiVersion: holdfast.io/v1alpha1\nkind: {retention.KIND}\nmetadata: {{name: kept}}\nspec: {{{spec}}}\n"


def _spread(given: list[Reading], now: int) -> list[Reading]:
    """Return readings as if one press had said all of them over DAYS, the last a day ago."""
    longest = given[-1].time - START
    first = now - (DAYS + 1) * DAY
    return [
        msgspec.structs.replace(each, device=METRIC[0], time=first + (each.time - START) * DAYS * DAY // longest)
        for each in given
    ]


async def _asked(hub: Hub) -> float:
    """Return the milliseconds of a question about one metric, by the hour."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = await history.reduced(hub, Asked(3_600_000, SITE, *METRIC, until=hub.now() // DAY * DAY, limit=100_000))
        took.append((time.perf_counter() - began) * 1000)
        if not found:
            raise RuntimeError("no answer")
    return median(took, 1)


async def _sending(sender: Sender, now: int, batches: int = BATCHES) -> list[float]:
    """Return how many milliseconds each batch took from the hub's thread of commits to its commit."""
    took = []
    given = [msgspec.structs.replace(each, time=now + n) for n, each in enumerate(readings(GROUP))]
    for _ in range(batches):
        began = time.perf_counter()
        await sender.hub.streams.database.call(sender.send, *given)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return took


def _size(hub: Hub) -> int:
    with hub.streams.database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return hub.streams.database.path.stat().st_size
