"""python -m bench.document: run every benchmark by scripts/bench and write docs/benchmarks.md from what it printed."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.main import NAMES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the benchmarks' documents stand in modules that import `support`
HEAD = """\
# Benchmarks

Made by `python -m bench.document`, which runs `scripts/bench NAME --json` for each and writes this page. Figures are
medians of several runs on the machine named, except `idle_cpu_pct` and `rss_mb` (one window of 60 s), counts, and
those called max, worst or n=1; run them on yours. Rivals are measured in the same run. A goal that is not met says NO.

"""


def main() -> None:
    answers = []
    for name in NAMES:
        print(name, flush=True)
        done = subprocess.run([ROOT / "scripts/bench", name, "--json"], capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
    (ROOT / "docs/benchmarks.md").write_text(page(answers))


def page(answers: list[dict[str, Any]]) -> str:
    """Return the document for the answers of the benchmarks."""
    machine = answers[0]["machine"]
    shown = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = f"{HEAD}Machine, {datetime.now(UTC):%Y-%m-%d}: {shown}.\n"
    for answer in answers:
        what = (import_module(f"bench.{answer['bench'].replace('-', '_')}").__doc__ or "").strip()
        text += f"\n## {answer['bench']}\n\n{what}\n\n| figure | value | unit | goal | met |\n|---|---|---|---|---|\n"
        for figure in answer["figures"]:
            met = {True: "yes", False: "NO", None: ""}[figure["met"]]
            text += f"| `{figure['name']}` | {figure['value']:,} | {figure['unit']} | {figure['goal']} | {met} |\n"
    return text


if __name__ == "__main__":
    main()
