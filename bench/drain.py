"""A backlog of 1,000,000 readings from a site's disk to the hub's after an outage, by the real agent, hub and broker; and
beside it, in turns, a Mosquitto bridge (as it comes, and with 1,000 in flight) and a NATS leaf node with JetStream with
the same readings in the same run. Then all of it over a link with a round trip of 200 ms (`_rtt200`), and 50,000 readings over
one of 1 Mbit/s (`_1mbit`), where a million would take the rivals a quarter of an hour.

Ours: the agent starts with its backlog on disk, appended as the device intake does, and the link down; `DOWN` seconds after
it was refused for the first time the link comes up, and it ends when the hub has committed the last reading
(synchronous=FULL at both ends) and a query finds them all. The rivals' outages are as long; they are in `bench/bridge.py` and
`bench/leaf.py`, the readings in `bench/dataset.py`. None of the rivals is on disk by fsync. Rates are from link up,
reconnecting included (`_per_s`), and from when the backlog flows (`_active_per_s`); bytes are TCP payload towards the hub.

How long reconnecting takes is a choice, not a speed: the agent waits with jitter over an eighth of the outage, up to
every 5 minutes, so that a fleet does not fall on its hub at once. The bridge and the leaf are told to try each second; what
they need is measured. Memory is the most each process ever had (RSS), for 200,000 readings (`_200k`) beside the million:
that of the hub must not depend on how long the outage was.
"""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import bridge, leaf
from bench.dataset import as_json, readings
from bench.line import PLAIN, Kind, Line
from bench.measured import Drained, peak_mib
from bench.report import Figure, median
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.runtime.sqlite import read_only
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.fleet import Agent, Hub, ended

ROWS: Final = 1_000_000
NARROW_ROWS: Final = 50_000
SHORT_ROWS: Final = 200_000  # of an outage whose memory is looked at, too
APPEND: Final = 500  # readings, as the device intake brings them
DOWN: Final = 10.0  # seconds
RUNS: Final = 3
TUNED: Final = 1000  # in flight
LINKS: Final = {"": PLAIN, "_rtt200": Kind(delay=0.1), "_1mbit": Kind(rate=125_000.0)}
GOALS: Final = {"drain_active_per_s": "> 250000", "drain_active_per_s_rtt200": "> 200000"}


def run() -> list[Figure]:
    given = readings(ROWS)
    lines = [as_json(reading) for reading in given]
    figures = []
    for name, kind in LINKS.items():
        count = NARROW_ROWS if kind.rate else ROWS
        figures += _compared(name, kind, given[:count], lines[:count], 1 if kind.rate else RUNS)
    return figures + _short(given[:SHORT_ROWS], next(each.value for each in figures if each.name == "hub_peak_mib"))


def _short(given: list[Reading], peak: float) -> list[Figure]:
    """Return what a shorter outage takes of memory, and how much more the long one took of the hub's, `peak`."""
    with tempfile.TemporaryDirectory() as name:
        filled = Path(name) / "state"
        asyncio.run(fill(filled, given))
        drained = [asyncio.run(_drain(filled, len(given), PLAIN)) for _ in range(RUNS)]
    hub = max(each.hub_mib for each in drained)
    return [
        Figure("agent_peak_mib_200k", max(each.site_mib for each in drained), "MiB", "< 96"),
        Figure("hub_peak_mib_200k", hub, "MiB"),
        Figure("hub_growth_mib", round(peak - hub, 1), "MiB more for five times the readings", "< 20"),
    ]


def _compared(suffix: str, kind: Kind, given: list[Reading], lines: list[str], runs: int) -> list[Figure]:
    found: dict[str, list[Drained]] = {"drain": [], "bridge": [], "bridge_tuned": [], "nats": []}
    with tempfile.TemporaryDirectory() as name:
        filled = Path(name) / "state"
        asyncio.run(fill(filled, given))
        for _ in range(runs):
            found["drain"].append(asyncio.run(_drain(filled, len(given), kind)))
            found["bridge"].append(asyncio.run(bridge.drain(lines, DOWN, kind)))
            found["bridge_tuned"].append(asyncio.run(bridge.drain(lines, DOWN, kind, inflight=TUNED)))
            found["nats"].append(asyncio.run(leaf.drain(lines, DOWN, kind)))
    figures = [each for who, drained in found.items() for each in _figures(who, suffix, drained)]
    rates = {who: median([each.per_s for each in drained], 0) for who, drained in found.items()}
    best = max(rate for who, rate in rates.items() if who != "drain")
    goal = "> 15" if kind.rate else "> 3"
    figures.append(Figure(f"drain_times_best{suffix}", round(rates["drain"] / best, 2), "x", goal))
    if not kind.rate:
        ours = found["drain"]
        figures.append(Figure(f"agent_peak_mib{suffix}", max(each.site_mib for each in ours), "MiB", "< 96"))
        figures.append(Figure(f"hub_peak_mib{suffix}", max(each.hub_mib for each in ours), "MiB"))
    return figures


def _figures(who: str, suffix: str, drained: Sequence[Drained]) -> list[Figure]:
    def figure(name: str, value: float, unit: str) -> Figure:
        return Figure(f"{name}{suffix}", value, unit, GOALS.get(f"{name}{suffix}", ""))

    return [
        figure(f"{who}_per_s", median([each.per_s for each in drained], 0), "readings/s"),
        figure(f"{who}_active_per_s", median([each.active_per_s for each in drained], 0), "readings/s"),
        figure(f"{who}_reconnect_s", median([each.reconnect_s for each in drained]), "s"),
        figure(f"{who}_bytes_per_reading", median([each.bytes_per_reading for each in drained], 2), "B"),
    ]


async def _drain(filled: Path, count: int, kind: Kind) -> Drained:
    with tempfile.TemporaryDirectory() as name, mosquitto.running("hub.conf") as broker:
        hub = Hub(Path(name) / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            await asyncio.to_thread(hub.ready)
            agent = Agent(hub, Path(name) / "site", "press-01")
            async with Line.running(broker.port, kind) as line:
                through(agent, broker.port, line)
                shutil.copytree(filled, agent.folder / "state")
                with ended(agent):
                    agent.start()
                    while not line.refused:
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(DOWN)
                    return await _measure(hub, agent, line, count)


def through(agent: Agent, port: int, line: Line) -> None:
    """Make an agent reach its hub's broker at `port` by a line."""
    text = re.sub(rf"^port = {port}$", f"port = {line.port}", agent.config.read_text(), flags=re.MULTILINE)
    agent.config.write_text(text)


async def fill(state: Path, given: list[Reading]) -> None:
    outbox = Outbox.open(state, quotas=Quotas(), stamp=lambda: Stamp("bench", 0, 0))
    for start in range(0, len(given), APPEND):
        await outbox.append_readings(given[start : start + APPEND])
    outbox.close()


async def _measure(hub: Hub, agent: Agent, line: Line, count: int) -> Drained:
    database = read_only(hub.data / "readings.db")
    query = "SELECT coalesce(sum(stored), 0) FROM streams WHERE class = 'p3'"
    if database.execute(query).fetchone()[0]:
        raise RuntimeError("readings arrived over the cut link")
    joined = line.join()
    while (stored := database.execute(query).fetchone()[0]) < count:
        if time.perf_counter() > joined + 120:
            raise RuntimeError(f"{stored} of {count} readings arrived within two minutes")
        await asyncio.sleep(0.005)
    ended_at = time.perf_counter()
    rows = database.execute("SELECT count(*), count(DISTINCT sequence) FROM readings").fetchone()
    database.close()
    if rows != (count, count):
        raise RuntimeError(f"{rows} rows and sequences of {count}")
    # A short backlog is gone before enough of it has passed to call it flowing.
    flowing = line.flowing or line.connected
    return Drained(
        count, joined, flowing, ended_at, line.bytes_up, peak_mib(agent.process.pid), peak_mib(hub.process.pid)
    )
