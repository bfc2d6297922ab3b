"""An agent's loop that never stops applying, ended by SIGKILL at random moments in a booted machine (files, folders, units,
kernel settings, a firewall); and one whose state and files lie on an ext4 image that is copied at random moments: what a
machine finds after a power cut. `tests/support/crashes.py`

After each kill and each cut every file is of one target or of another, never half. After every 20th kill, and after each cut
on the copy, a new agent is left alone: it must come to the end of the target it has by itself, no older one than was
acknowledged, with nothing left over and without a word of damage. `repairs` counts everything else: what a person would have
to mend. The copy holds what the file system had handed to the disk; a disk that loses what it said it has written is not
simulated.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.report import Figure
from support import machines

ROOT: Final = Path(__file__).resolve().parents[1]
KILLS, CUTS = 1000, 200
SEED: Final = "20261121"
WITHIN: Final = 3600.0  # seconds


def run() -> list[Figure]:
    if why := machines.why_not():
        raise SystemExit(f"kills: {why}")
    with machines.lab() as lab:
        (machine,) = lab.boot("press-01")
        machine.run(["mkdir", "-p", "/srv/crashes"])
        kills = json.loads(machine.run(_words("kills", "/srv/crashes", KILLS), timeout=WITHIN).stdout)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(_words("cuts", folder, CUTS), stdout=subprocess.PIPE, timeout=WITHIN, check=True)
        cuts = json.loads(done.stdout)
    return figures(kills, cuts)


def figures(kills: dict[str, Any], cuts: dict[str, Any]) -> list[Figure]:
    """Return the figures, and print what a person would have to mend."""
    mend = [*kills["mend"], *cuts["mend"]]
    print("\n".join(mend))
    return [
        Figure("kills", kills["count"], "", f"> {KILLS - 1}"),
        Figure("power_cuts", cuts["count"], "", f"> {CUTS - 1}"),
        Figure("repairs", len(mend), "", "< 1"),
        Figure("kills_targets", kills["targets"], "targets brought about meanwhile"),
        Figure("power_cuts_targets", cuts["targets"], "targets brought about meanwhile"),
    ]


def _words(way: str, folder: str, count: int) -> list[str]:
    inside = ["env", f"PYTHONPATH={ROOT / 'tests'}", sys.executable, "-m", "support.crashes"]
    return [*inside, way, folder, str(count), SEED]
