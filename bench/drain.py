"""A backlog of 200,000 readings from a site's disk to the hub's after an outage, by the real agent, hub and broker; and
beside it a Mosquitto bridge with the same readings in the same run.

Ours: the agent starts with its backlog on disk and the link down; `DOWN` seconds after it was refused for the first time
the link comes up, and it ends when the hub has committed the last reading (synchronous=FULL at both ends). The bridge's
outage is as long; it is in `bench/bridge.py`, the readings in `bench/dataset.py`. Rates are from link up, reconnecting
included, and from when the backlog flows; bytes are TCP payload towards the hub. Ours and the bridge take turns.

How long reconnecting takes is a choice, not a speed: the agent waits with jitter over an eighth of the outage, up to
every 5 minutes, so that a fleet does not fall on its hub at once. The bridge is told to try each second; what it needs is
measured.
"""

import asyncio
import re
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import bridge
from bench.dataset import as_json, readings
from bench.line import Line
from bench.measured import Drained
from bench.report import Figure, median
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.runtime.sqlite import read_only
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.fleet import Agent, Hub, ended

ROWS: Final = 200_000
APPEND: Final = 500  # readings, as the device intake brings them
DOWN: Final = 10.0  # seconds
RUNS: Final = 5
BRIDGE_RUNS: Final = 3  # filling its broker takes long


def run() -> list[Figure]:
    given = readings(ROWS)
    lines = [as_json(reading) for reading in given]
    ours, theirs = [], []
    for number in range(RUNS):
        ours.append(asyncio.run(_drain(given)))
        if number < BRIDGE_RUNS:
            theirs.append(asyncio.run(bridge.drain(lines, DOWN)))
    return [
        Figure("drain_per_s", median([each.per_s for each in ours], 0), "readings/s", "> 100000"),
        Figure("drain_active_per_s", median([each.active_per_s for each in ours], 0), "readings/s"),
        Figure("drain_reconnect_s", median([each.reconnect_s for each in ours]), "s"),
        Figure("wire_bytes_per_reading", median([each.bytes_per_reading for each in ours], 2), "B", "< 12"),
        Figure("bridge_per_s", median([each.per_s for each in theirs], 0), "readings/s"),
        Figure("bridge_active_per_s", median([each.active_per_s for each in theirs], 0), "readings/s"),
        Figure("bridge_reconnect_s", median([each.reconnect_s for each in theirs]), "s"),
        Figure("bridge_bytes_per_reading", median([each.bytes_per_reading for each in theirs], 2), "B"),
    ]


async def _drain(given: list[Reading]) -> Drained:
    with tempfile.TemporaryDirectory() as name, mosquitto.running("hub.conf") as broker:
        hub = Hub(Path(name) / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            await asyncio.to_thread(hub.ready)
            agent = Agent(hub, Path(name) / "site", "press-01")
            async with Line.running(broker.port) as line:
                text = agent.config.read_text()
                agent.config.write_text(
                    re.sub(rf"^port = {broker.port}$", f"port = {line.port}", text, flags=re.MULTILINE)
                )
                await _fill(agent.folder / "state", given)
                with ended(agent):
                    agent.start()
                    while not line.refused:
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(DOWN)
                    return await _measure(hub, line)


async def _fill(state: Path, given: list[Reading]) -> None:
    outbox = Outbox.open(state, quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
    for start in range(0, len(given), APPEND):
        await outbox.append_readings(given[start : start + APPEND])
    outbox.close()


async def _measure(hub: Hub, line: Line) -> Drained:
    database = read_only(hub.data / "readings.db")
    query = "SELECT coalesce(sum(stored), 0) FROM streams WHERE class = 'p3'"
    if database.execute(query).fetchone()[0]:
        raise RuntimeError("readings arrived over the cut link")
    joined = line.join()
    while (stored := database.execute(query).fetchone()[0]) < ROWS:
        if time.perf_counter() > joined + 60:
            raise RuntimeError(f"{stored} of {ROWS} readings arrived within a minute")
        await asyncio.sleep(0.005)
    ended_at = time.perf_counter()
    rows = database.execute("SELECT count(*), count(DISTINCT sequence) FROM readings").fetchone()
    database.close()
    if rows != (ROWS, ROWS):
        raise RuntimeError(f"{rows} rows and sequences of {ROWS}")
    return Drained(ROWS, joined, line.flowing, ended_at, line.bytes_up)
