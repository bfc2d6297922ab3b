"""Start-up of the commands: what a person waits for before a verb begins, with nothing to ask."""

import subprocess
import sys
import time
from pathlib import Path

from bench.report import Figure, median

BIN = Path(sys.executable).parent
VERBS = (
    "apply",
    "diff",
    "get",
    "describe",
    "delete",
    "render",
    "wait",
    "site",
    "blueprint",
    "readings",
    "ledger",
    "doctor",
)
RUNS = 9


def run() -> list[Figure]:
    hub = {verb: _milliseconds([BIN / "holdfast", verb, "--help"]) for verb in VERBS}
    slowest = max(hub, key=hub.__getitem__)
    return [
        Figure("startup_slowest_ms", hub[slowest], f"ms ({slowest})", "< 150"),
        Figure("startup_median_ms", median(list(hub.values()), 1), "ms"),
        Figure("startup_edge_status_ms", _milliseconds([BIN / "holdfast-edge", "status", "--help"]), "ms", "< 150"),
    ]


def _milliseconds(words: list[str | Path]) -> float:
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        took.append((time.perf_counter() - began) * 1000)
    return median(took, 1)
