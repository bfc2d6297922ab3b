"""Run in a booted machine by `drift`: `python -m bench.drift_inside KIND COUNT`; prints seconds as JSON, one for each thing.

Changes one thing after the other by hand, as somebody at the machine would, and waits until it is as it was. The clock begins
when the change has been made; it is looked at every few milliseconds.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

WITHIN: Final = 60.0  # seconds
EVERY: Final = 0.003
REST: Final = 1.0  # between two things: the last repair's own look and report are over
CONTENT: Final = "as wanted\n"


def main(kind: str, count: int) -> None:
    change, mended = {"file": _file, "unit": _unit, "container": _container, "firewall": _firewall}[kind]()
    took = []
    for number in range(count):
        change(number)
        began = time.perf_counter()
        while not mended(number):
            if time.perf_counter() - began > WITHIN:
                raise TimeoutError(f"{kind} {number} is not repaired")
            time.sleep(EVERY)
        took.append(time.perf_counter() - began)
        time.sleep(REST)
    print(json.dumps(took))


Change = Callable[[int], object]
Probe = Callable[[int], bool]


def _file() -> tuple[Change, Probe]:
    """Other content."""

    def path(number: int) -> Path:
        return Path(f"/srv/drift/f{number}")

    return lambda number: path(number).write_text("otherwise\n"), lambda number: path(number).read_text() == CONTENT


def _unit() -> tuple[Change, Probe]:
    """Stopped."""

    def is_active(number: int) -> bool:
        return _run("systemctl", "is-active", f"drift{number}.service") == "active"

    return lambda number: _run("systemctl", "stop", f"drift{number}.service"), is_active


def _container() -> tuple[Change, Probe]:
    """Removed, as `docker rm -f` does."""
    import docker

    client: Any = docker.APIClient(base_url="unix:///run/docker.sock", version="auto")

    def running(number: int) -> list[str]:
        filters = {"label": f"holdfast.io/resource=Deployment/drift{number}", "status": "running"}
        return [each["Id"] for each in client.containers(filters=filters)]

    return lambda number: client.remove_container(running(number)[0], force=True), lambda number: bool(running(number))


def _firewall() -> tuple[Change, Probe]:
    """The table deleted."""

    def is_there(number: int) -> bool:
        return str(7000 + number) in _run("nft", "list", "table", "inet", f"holdfast_drift{number}")

    return lambda number: _run("nft", "delete", "table", "inet", f"holdfast_drift{number}"), is_there


def _run(*words: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
