"""python -m bench.document [NAME ...]: run benchmarks by scripts/bench and write docs/benchmarks.md from what they printed.

Without names all of them run, which takes about an hour. What each printed last is kept in docs/benchmarks.json.
"""

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
KEPT = ROOT / "docs/benchmarks.json"
HEAD = """\
# Benchmarks

Made by `python -m bench.document`, which runs `scripts/bench NAME --json` and writes this page. Figures are medians of
several runs on the machine and day named, except `idle_cpu_pct` and `rss_mb` (one window of 60 s), counts, and those
called max, worst or n=1; run them on yours. Rivals are measured in the same run. A goal that is not met says NO.
"""


def main() -> None:
    names = sys.argv[1:] or NAMES
    if unknown := set(names) - set(NAMES):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}")
    for name in names:
        print(name, flush=True)
        done = subprocess.run([ROOT / "scripts/bench", name, "--json"], capture_output=True, text=True, check=True)
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept[name] = {**json.loads(done.stdout), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        (ROOT / "docs/benchmarks.md").write_text(page([kept[each] for each in NAMES if each in kept]))


def page(answers: list[dict[str, Any]]) -> str:
    """Return the document for the answers of the benchmarks."""
    text = HEAD
    for answer in answers:
        what = (import_module(f"bench.{answer['bench'].replace('-', '_')}").__doc__ or "").strip()
        machine = ", ".join(f"{key} {value}" for key, value in answer["machine"].items())
        text += f"\n## {answer['bench']}\n\n{what}\n\n{answer['date']}, {machine}.\n\n"
        text += "| figure | value | unit | goal | met |\n|---|---|---|---|---|\n"
        for figure in answer["figures"]:
            met = {True: "yes", False: "NO", None: ""}[figure["met"]]
            text += f"| `{figure['name']}` | {figure['value']:,} | {figure['unit']} | {figure['goal']} | {met} |\n"
    return text


if __name__ == "__main__":
    main()
