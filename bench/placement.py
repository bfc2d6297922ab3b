"""One label of one site changes among 1,000,000 sites with 200 instances placed: which instances it gains or loses."""

import random
import time

from bench.report import Figure, median
from holdfast_hub.core.placement import PlacementIndex, SiteView, read_placement
from holdfast_protocol.wire.names import SiteName

SITES, INSTANCES, CHANGES, SEED = 1_000_000, 200, 2_000, 7
ZONES, TIERS = 200, 5


def run() -> list[Figure]:
    chance = random.Random(SEED)
    index = PlacementIndex()
    for number in range(INSTANCES):
        zone = {"key": "zone", "operator": "In", "values": [f"z{number % ZONES}"]}
        tier = {"key": "tier", "operator": "NotIn", "values": [f"t{number % TIERS}"]}
        placement = {"labelSelector": {"matchExpressions": [zone, tier]}}
        index.put_instance(f"Bench/i{number}", read_placement(placement, []))
    for number in range(SITES):
        index.put_site(_site(number, number % ZONES))
    took, touched = [], 0
    for _ in range(CHANGES):
        number = chance.randrange(SITES)
        changed = _site(number, chance.randrange(ZONES))
        began = time.perf_counter()
        touched += len(index.put_site(changed))
        took.append((time.perf_counter() - began) * 1000)
    assert touched
    return [
        Figure("relabel_ms_p50", median(took, 4), "ms", "< 5"),
        Figure("relabel_ms_max", round(max(took), 3), "ms"),
    ]


def _site(number: int, zone: int) -> SiteView:
    return SiteView(
        SiteName(f"site-{number}"),
        {"zone": f"z{zone}", "tier": f"t{number % TIERS}"},
        {"arch": ("arm64" if number % 2 else "x86_64",)},
    )
