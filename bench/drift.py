"""From a change by hand on a booted machine until the agent has undone it, seconds: a file written over, a unit stopped, a
container removed, a firewall's table deleted.

The agent runs as a service, with a hub, and looks by itself only every ten minutes: what is measured was told by events. Each
thing is changed once, so no repair waits for the one before. The unit is seen every 10 ms, the others more often.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.drift_inside import CONTENT
from bench.report import Figure, median
from support import images, machines
from support.booted import Booted, booted
from support.engine import IMAGE

ROOT: Final = Path(__file__).resolve().parents[1]
COUNTS: Final = {"file": 25, "unit": 15, "container": 15, "firewall": 11}
OPTIONS: Final = ("--file-root", "/srv", "--systemd", "system", "--engine", "unix:///run/docker.sock", "--kernel")


def run() -> list[Figure]:
    if why := machines.why_not():
        raise SystemExit(f"drift: {why}")
    with (
        tempfile.TemporaryDirectory() as name,
        booted(Path(name), "press-01", *OPTIONS, before=lambda machine: images.load(machine, IMAGE)) as site,
    ):
        site.give(*(body for kind, count in COUNTS.items() for body in _bodies(kind, count)))
        site.settled(within=180)
        took = {kind: _drifted(site, kind, count) for kind, count in COUNTS.items()}
        site.settled()
    return [
        *(Figure(f"drift_{kind}_s_p50", median(each), f"s (n={len(each)})", "< 1") for kind, each in took.items()),
        *(Figure(f"drift_{kind}_s_max", round(max(each), 3), "s") for kind, each in took.items()),
    ]


def _drifted(site: Booted, kind: str, count: int) -> list[float]:
    words = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.drift_inside", kind, str(count)]
    found: list[float] = json.loads(site.machine.run(words, timeout=300).stdout)
    return found


def _bodies(kind: str, count: int) -> list[dict[str, Any]]:
    return [_body(kind, number) for number in range(count)]


def _body(kind: str, number: int) -> dict[str, Any]:
    if kind == "container":
        containers = [{"name": "main", "image": IMAGE, "command": ["/bin/sleep", "infinity"]}]
        pod = {"containers": containers, "hostNetwork": True, "terminationGracePeriodSeconds": 0}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"drift{number}"},
            "spec": {
                "selector": {"matchLabels": {"app": f"drift{number}"}},
                "template": {"metadata": {"labels": {"app": f"drift{number}"}}, "spec": pod},
            },
        }
    unit = f"[Service]\nExecStart=/bin/sleep infinity\nSyslogIdentifier=drift{number}\n"
    native, spec = {
        "file": ("File", {"path": f"/srv/drift/f{number}", "content": CONTENT}),
        "unit": ("SystemdService", {"unit": unit, "enabled": False}),
        "firewall": ("Firewall", {"rules": [{"protocol": "tcp", "ports": [7000 + number]}]}),
    }[kind]
    return {"kind": native, "name": f"drift{number}", "spec": spec}
