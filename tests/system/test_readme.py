"""The README's tour, line by line, as a new user would type it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support import mosquitto
from support.waiting import HANGS_S, until

ROOT = Path(__file__).resolve().parents[2]


def tour() -> list[str]:
    """Return the commands of the README's tour."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## Five minutes\n.*?```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def test_the_five_minutes_of_the_readme_work_as_printed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs/examples/hello", tmp_path / "hello")
    for file in (tmp_path / "hello").rglob("*.yaml"):
        file.write_text(file.read_text().replace("/tmp/", f"{tmp_path}/"))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOLDFAST_SOCKET": f"{tmp_path}/hub.sock",
    }
    port = str(mosquitto.free_port())
    shown: dict[str, str] = {}
    background: list[subprocess.Popen[bytes]] = []
    try:
        for line in tour():
            if line.startswith((". ", "export ")):
                continue
            words = line.replace("/tmp/", f"{tmp_path}/").replace("21883", port)
            words = words.replace("docs/examples/hello", f"{tmp_path}/hello")
            if words.endswith("&"):
                log = (tmp_path / f"log{len(background)}").open("wb")
                command = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", f"exec {words.removesuffix('&')}"]
                background.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                log.close()
                until(lambda: (tmp_path / "hub.sock").exists(), HANGS_S, "the hub's socket")
                continue
            done = subprocess.run(
                ["bash", "-c", words], env=environment, capture_output=True, text=True, timeout=HANGS_S
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            shown[line.split(" -")[0]] = done.stdout
        assert shown["cat /tmp/press-01/motd"] == "hello, site\n"
        assert "Converged" in shown["holdfast get sites"]
        assert "looking at it" in shown["holdfast-edge plan"]
        assert not (tmp_path / "press-01/motd").exists(), "the hold was not respected"
        assert (tmp_path / "exit-plan/hello-west/otel-config.yaml").exists()
    finally:
        for process in reversed(background):
            process.terminate()
            process.wait(HANGS_S)
