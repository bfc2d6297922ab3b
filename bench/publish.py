"""From asking the hub to the file on the site's disk: check, commit, sign, publish, verify, commit, apply, all on disk."""

import tempfile
import time
from pathlib import Path

from bench.report import Figure, median
from holdfast_hub.cli.client import Client
from support import mosquitto
from support.fleet import Agent, Hub, ended
from support.waiting import until

CHANGES = 40
BLUEPRINT = Path(__file__).resolve().parents[1] / "docs/examples/hello/blueprint.yaml"


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hub = Hub(folder / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, folder / "site", "press-01")
            with ended(agent):
                agent.start()
                until(lambda: hub.site("press-01")["online"], 30, "the agent")
                took = _changes(Client(str(hub.socket)), agent.root / "motd")
    return [
        Figure("publish_to_applied_ms_p50", median(took), "ms", "< 150"),
        Figure("publish_to_applied_ms_max", round(max(took), 3), "ms"),
    ]


def _changes(client: Client, file: Path) -> list[float]:
    client.post("/v1/apply", {"files": [{"name": "blueprint.yaml", "text": BLUEPRINT.read_text()}]})
    took = []
    for number in range(CHANGES + 1):
        text = (
            "apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: bench\nspec:\n"
            f"  path: {file}\n  greeting: change {number}\n  placement:\n    labelSelector: {{}}\n"
        )
        began = time.perf_counter()
        client.post("/v1/apply", {"files": [{"name": "instance.yaml", "text": text}]})
        wanted = f"change {number}, site\n"
        until(lambda wanted=wanted: _content(file) == wanted, 20, "the change", every=0.001)  # type: ignore[misc]
        if number:  # the first one creates it
            took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.3)  # a change to a site at rest is what is measured
    return took


def _content(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
