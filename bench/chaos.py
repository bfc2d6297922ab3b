"""Nothing lost and nothing twice, the long way: sent = stored + tombstoned, exactly, after everything that may go wrong.

Two parts. Real processes: devices publish through a site's broker while agent, hub and hub's broker are killed at random
moments (SIGKILL), 1,000 times, the broker with its store wiped in three of ten. In one process: an outbox and a hub's store on
real SQLite, a wire between them that loses, repeats and reorders, 100 power cuts at both ends (the write-ahead log as it was at
the last commit, and behind that a random part of the sectors of the next one), a quota that overflows all the time, and a disk
that is full now and then. `sent` is what devices and producers were told is safe; every one of them is a row at the hub or in
a tombstone, and no row is there twice, or the benchmark fails.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from bench.report import Figure
from holdfast_protocol.runtime.sqlite import read_only
from support import mosquitto, power
from support.fleet import Agent, Hub, ended, kill_one, published, publishers
from support.waiting import until

KILLS: Final = 1000
CUTS: Final = 100
SEED: Final = 20261121
SPREAD: Final = 0.35  # seconds a victim lives on average before the next kill
DEVICES: Final = 3


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        sent, stored, kills = _kills(Path(name))
    with tempfile.TemporaryDirectory() as name:
        cut = asyncio.run(power.cut_power(Path(name), CUTS, SEED))
    return [
        Figure("sent", sent + cut["sent"], "readings"),
        Figure("stored", stored + cut["stored"], "readings"),
        Figure("tombstoned", cut["tombstoned"], "readings"),
        Figure("kills", kills, "", "> 999"),
        Figure("power_cuts", cut["cuts"], "", "> 99"),
        Figure("full_disks", cut["full"], ""),
        Figure("unaccounted", sent - stored + cut["sent"] - cut["stored"] - cut["tombstoned"], "readings", "< 1"),
    ]


def _kills(folder: Path) -> tuple[int, int, int]:
    """Return readings sent and stored, and kills; raises RuntimeError when they differ in any way."""
    chance = random.Random(SEED)
    with mosquitto.running("hub.conf") as broker, mosquitto.running("site.conf") as site_broker:
        hub = Hub(folder / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, folder / "site", "press-01", devices=site_broker.port)
            devices, files = publishers(folder, site_broker.port, DEVICES)
            with ended(agent, *devices):
                agent.start()
                until(lambda: hub.site("press-01")["online"], 30, "the agent to be seen")
                for device in devices:
                    device.start()
                for _ in range(KILLS):
                    time.sleep(chance.expovariate(1 / SPREAD))
                    kill_one(chance, agent, hub, broker)
                hub.ready(60)
                for device in devices:
                    device.stop()
                wanted = published(files)
                until(lambda: _stored(hub).total() >= wanted.total(), 300, "every reading at the hub", every=0.5)
                found = _stored(hub)
                if found != wanted:
                    raise RuntimeError(f"lost {len(wanted - found)}, too many {len(found - wanted)}")
                return wanted.total(), found.total(), KILLS


def _stored(hub: Hub) -> Counter[tuple[str, int]]:
    database = read_only(hub.data / "readings.db")
    rows = database.execute("SELECT device, value FROM readings JOIN series ON series.id = series").fetchall()
    database.close()
    return Counter((device, int(value)) for device, value in rows)
