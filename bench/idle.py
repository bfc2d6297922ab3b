"""An agent with nothing to do, every provider on: 160 files and 40 units as wanted, a container engine and systemd watched,
connected to a hub and to the site's broker, default pace."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Figure, median
from support import mosquitto, user_systemd
from support.engine import running_engine
from support.fleet import Agent, Hub, ended
from support.waiting import until

WATCHED = 60.0  # seconds: two periodic looks
FILES, UNITS = 160, 40
IMPORTS = 7


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
                applied = hub.call("apply", "-f", "-", "--wait", given=_documents(agent.root))
                assert applied.status == 0, applied.err
                until(lambda: hub.site("press-01")["state"] == "Converged", 30, "convergence")
                assert hub.site("press-01")["state"] == "Converged"
                time.sleep(5)  # the last of the start
                began, used = time.perf_counter(), _cpu_seconds(agent.process.pid)
                time.sleep(WATCHED)
                share = (_cpu_seconds(agent.process.pid) - used) / (time.perf_counter() - began) * 100
                resident = _resident_mib(agent.process.pid)
    return [
        Figure("idle_cpu_pct", round(share, 3), "% of a core", "< 0.5"),
        Figure("rss_mb", round(resident, 1), "MiB", "< 64"),
        Figure("import_s", median(imports), "s", "< 0.45"),
    ]


def _documents(root: Path) -> str:
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
        "  schema: {apiVersion: v1alpha1, kind: Idle, spec: {}}\n  resources:\n" + resources + "---\n"
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
