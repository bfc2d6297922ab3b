"""The first fresh value after 72 hours without a link, while the backlog drains: a device's reading that its site took after
the agent had its connection again, committed at the hub.

The backlog is 72 hours of four readings a second (1,036,800, from `bench/dataset.py`), on the site's disk when the
agent starts; a device publishes all the time. Counted from the agent's connection to the broker. How long an agent waits
before it tries again is apart from this: with jitter up to 5 minutes after so long an outage (`docs/operations.md`).
`backlog_left_pct` is what of the backlog was still to come when the fresh value was there. The same over a link of 1 Mbit/s.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.dataset import readings
from bench.drain import fill, through
from bench.line import PLAIN, Kind, Line
from bench.report import Figure, median
from holdfast_protocol.runtime.sqlite import read_only
from support import mosquitto, publisher
from support.fleet import Agent, Hub, Program, ended

ROWS: Final = 72 * 3600 * 4
RUNS: Final = 3
EVERY_MS: Final = "20"
SETTLING: Final = 2.0  # seconds of publishing before the link is there
WITHIN: Final = 60.0


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        filled = Path(name) / "state"
        asyncio.run(fill(filled, readings(ROWS)))
        fast = [asyncio.run(_fresh(filled, PLAIN)) for _ in range(RUNS)]
        narrow = [asyncio.run(_fresh(filled, Kind(rate=125_000.0))) for _ in range(RUNS)]
    return [
        Figure("first_fresh_s", median([took for took, _ in fast]), "s", "< 2"),
        Figure("first_fresh_s_max", round(max(took for took, _ in fast), 3), "s"),
        Figure("backlog_left_pct", median([left for _, left in fast], 1), "%"),
        Figure("first_fresh_s_1mbit", median([took for took, _ in narrow]), "s", "< 2"),
        Figure("backlog_left_pct_1mbit", median([left for _, left in narrow], 1), "%"),
    ]


async def _fresh(filled: Path, kind: Kind) -> tuple[float, float]:
    """Return the seconds to the first fresh value, and the share of the backlog that had not come yet, in percent."""
    brokers = mosquitto.running("hub.conf"), mosquitto.running("site.conf")
    with tempfile.TemporaryDirectory() as name, brokers[0] as broker, brokers[1] as site_broker:
        hub = Hub(Path(name) / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            await asyncio.to_thread(hub.ready)
            agent = Agent(hub, Path(name) / "site", "press-01", devices=site_broker.port)
            words = [sys.executable, publisher.__file__, "127.0.0.1", str(site_broker.port), "fresh"]
            device = Program([*words, Path(name) / "sent", EVERY_MS], Path(name) / "device.log")
            async with Line.running(broker.port, kind) as line:
                through(agent, broker.port, line)
                (agent.folder / "state").mkdir()
                for file in filled.iterdir():
                    (agent.folder / "state" / file.name).write_bytes(file.read_bytes())
                with ended(agent, device):
                    device.start()
                    await asyncio.sleep(SETTLING)
                    line.join()
                    agent.start()
                    return await _wait(hub, line)


async def _wait(hub: Hub, line: Line) -> tuple[float, float]:
    while not line.connected:
        await asyncio.sleep(0.001)
    wall, connected = time.time() * 1000, line.connected
    database = read_only(hub.data / "readings.db")
    fresh = "SELECT 1 FROM readings JOIN series ON series.id = series WHERE device LIKE '%fresh%' AND time > ? LIMIT 1"
    while database.execute(fresh, (wall,)).fetchone() is None:
        if time.perf_counter() > connected + WITHIN:
            raise RuntimeError("no fresh value came")
        await asyncio.sleep(0.005)
    took = time.perf_counter() - connected
    (stored,) = database.execute("SELECT coalesce(sum(stored), 0) FROM streams WHERE class = 'p3'").fetchone()
    database.close()
    return round(took, 3), round(100 * max(ROWS - stored, 0) / ROWS, 1)
