"""python -m bench.main NAME [--json]: run one benchmark. Exit 0 when it ran, met or not; 2 for wrong words."""

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import Final

NAMES: Final = (
    "publish",
    "noop",
    "idle",
    "startup",
    "render",
    "revision",
    "placement",
    "outbox",
    "ingest",
    "drain",
    "wire",
    "hub-ingest",
    "kept",
    "fresh",
    "chaos",
    "rivals",
    "drift",
    "kills",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Run one benchmark and print its figures.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # `support`: brokers and processes
    from bench import report

    with contextlib.redirect_stdout(sys.stderr):
        figures = importlib.import_module(f"bench.{options.name.replace('-', '_')}").run()
    if options.json:
        print(report.as_json(options.name, figures))
    else:
        report.show(options.name, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
