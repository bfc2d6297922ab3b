"""A changed blueprint over 10,000 sites: checked, rendered, composed, and every site's new generation committed to disk. One
instance for every 100 sites, 10 resources each, so that 100 different targets are made."""

import asyncio
import tempfile
import time
from pathlib import Path

from bench.blueprints import blueprint_of, instance_of
from bench.report import Figure, median
from holdfast_hub.operations import apply
from holdfast_hub.operations.fleet import Change, KnownSite
from holdfast_hub.operations.hub import Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store.sites import SiteRow
from holdfast_protocol.wire.names import SiteName
from support.hubs import hub_at

SITES, GROUPS, RUNS = 10_000, 100, 3


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name, hub_at(Path(name)) as hub:
        rates = asyncio.run(_rates(hub))
    return [Figure("sites_per_s", median(rates, 0), "sites/s", "> 1000")]


async def _rates(hub: Hub) -> list[float]:
    await hub.load()
    sites = {
        SiteName(f"site-{n}"): KnownSite(SiteRow(SiteName(f"site-{n}"), 0, {"group": f"g{n % GROUPS}"}), {})
        for n in range(SITES)
    }
    await hub.database.call(lambda: hub.enact(Change(sites=dict(sites)), Note("bench", "add", ("Site/all",))))
    text = blueprint_of(10)
    placed = "---\n".join(instance_of(f"i{n}", n, f"{{matchLabels: {{group: g{n}}}}}") for n in range(GROUPS))
    await apply.apply(hub, [SourceFile("b.yaml", text), SourceFile("i.yaml", placed)], author="bench")
    rates = []
    for number in range(RUNS):
        changed = text.replace("level = ", f"revision {number}, level = ")
        began = time.perf_counter()
        done = await apply.apply(hub, [SourceFile("b.yaml", changed)], author="bench")
        rates.append(len(done.sites) / (time.perf_counter() - began))
        assert len(done.sites) == SITES
    return rates
