"""An agent with nothing to do: 160 files, 40 units and a container as wanted, a container engine and systemd watched,
connected to a hub and to the site's broker, default pace.

Its memory three times: before it has a target, with files and units, and with the container too. What a kind needs is
imported when a target has one of it, so each is what a site of that sort pays."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Figure, median
from support import mosquitto, user_systemd
from support.engine import IMAGE, running_engine
from support.fleet import Agent, Hub, ended
from support.waiting import until

WATCHED = 60.0  # seconds: two periodic looks
FILES, UNITS = 160, 40
IMPORTS = 7
SETTLED = 5.0  # seconds for the last of a start or a change


def run() -> list[Figure]:
    imports = [_import_seconds() for _ in range(IMPORTS)]
    with (
        tempfile.TemporaryDirectory() as name,
        mosquitto.running("site.conf") as site_broker,
        running_engine() as engine,
        tempfile.TemporaryDirectory() as home,
        user_systemd.running(Path(home)) as systemd,
    ):
        folder = Path(name)
        hub = Hub(folder / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, folder / "site", "press-01", devices=site_broker.port)
            text = agent.config.read_text()
            text = re.sub(r"\[timing\]\n(.*=.*\n)*", "", text)
            text = text.replace('engine = ""', f'engine = "{engine.url}"').replace('systemd = ""', 'systemd = "user"')
            agent.config.write_text(text)
            agent.words = ["env", *(f"{key}={value}" for key, value in systemd.environ.items()), *agent.words]
            with ended(agent):
                agent.start()
                until((agent.folder / "state/control.sock").exists, 30, "the agent to listen")
                bare = _settled_mib(agent.process.pid)
                _apply(hub, _documents(agent.root))
                mixed = _settled_mib(agent.process.pid)
                _apply(hub, _documents(agent.root, _CONTAINER))
                time.sleep(SETTLED)
                began, used = time.perf_counter(), _cpu_seconds(agent.process.pid)
                time.sleep(WATCHED)
                share = (_cpu_seconds(agent.process.pid) - used) / (time.perf_counter() - began) * 100
                resident = _resident_mib(agent.process.pid)
    return [
        Figure("idle_cpu_pct", round(share, 3), "% of a core", "< 0.5"),
        Figure("rss_mb", round(resident, 1), "MiB", "< 64"),
        Figure("rss_no_container_mb", round(mixed, 1), "MiB", "< 56"),
        Figure("rss_no_target_mb", round(bare, 1), "MiB", "< 50"),
        Figure("import_s", median(imports), "s", "< 0.45"),
    ]


_CONTAINER = f"""\
    - id: box
      template:
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: box}}
        spec:
          selector: {{matchLabels: {{app: box}}}}
          template:
            metadata: {{labels: {{app: box}}}}
            spec:
              hostNetwork: true
              containers:
                - {{name: box, image: "{IMAGE}", imagePullPolicy: Never, command: [sleep, "1000000"]}}
"""


def _apply(hub: Hub, documents: str) -> None:
    applied = hub.call("apply", "-f", "-", "--wait", given=documents)
    assert applied.status == 0, applied.err
    until(lambda: hub.site("press-01")["state"] == "Converged", 30, "convergence")


def _settled_mib(pid: int) -> float:
    time.sleep(SETTLED)
    return _resident_mib(pid)


def _documents(root: Path, more: str = "") -> str:
    resources = "".join(
        f"    - id: f{n}\n      template:\n        apiVersion: holdfast.io/v1alpha1\n        kind: File\n"
        f"        metadata: {{name: f{n}}}\n        spec: {{path: {root}/f{n}, content: file {n}}}\n"
        for n in range(FILES)
    )
    resources += "".join(
        f"    - id: u{n}\n      template:\n        apiVersion: holdfast.io/v1alpha1\n        kind: SystemdService\n"
        f"        metadata: {{name: idle{n}}}\n        spec:\n          enabled: false\n          unit: |\n"
        "            [Service]\n            ExecStart=/bin/sleep infinity\n"
        for n in range(UNITS)
    )
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: Blueprint\nmetadata: {name: idle}\nspec:\n"
        "  schema: {apiVersion: v1alpha1, kind: Idle, spec: {}}\n  resources:\n" + resources + more + "---\n"
        "apiVersion: holdfast.io/v1alpha1\nkind: Idle\nmetadata: {name: idle}\nspec:\n  placement: {labelSelector: {}}\n"
    )


def _import_seconds() -> float:
    code = "import time; began = time.perf_counter(); import holdfast_edge.agent; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
