"""What a stranger does first: the demo, to its end, interrupted, and on the lighter ground."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support import leftovers, network
from support.machines import REPOSITORY
from support.waiting import HANGS_S, until

DEMO = str(REPOSITORY / "scripts/demo")
STEPS = 8


@pytest.fixture
def temporary() -> Iterator[dict[str, str]]:
    """An environment whose temporary files are in a folder of this test, looked into afterwards."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:  # a short path: sockets go there
        yield os.environ | {"TMPDIR": folder}
        assert list(Path(folder).iterdir()) == []
        until(lambda: not processes_naming(folder), HANGS_S, "every process of the demo to end")


def processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if text in words:
            found.append(words)
    return found


def told(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [DEMO, "--exit", "--json", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["verified"]
    assert len(summary["steps"]) == STEPS
    assert all(step["verified"] and step["checks"] for step in summary["steps"])
    return summary


def strays() -> list[str]:
    """Return links of labs that no lab's folder tells of; other tests may have labs of their own."""
    numbers = [entry.name for entry in leftovers.LABS.glob("*/*")]
    known = {network.Cable(int(number.rpartition("-")[2])).link for number in numbers if "-" not in number}
    known |= {network.hub_link(int(number.rpartition("-")[2])) for number in numbers if "-" in number}
    return [name for name in network.links() if name.startswith(("ve-hf", "hf-hub")) and name not in known]


def labs_under(ancestor: int) -> list[Path]:
    """Return the folders of the labs whose keepers descend from a process."""
    parents, keepers = {}, {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            if "support.leftovers" in words:
                keepers[int(entry.name)] = Path(words[words.index("support.leftovers") + 1])

    def descends(process: int) -> bool:
        return process == ancestor or (process in parents and descends(parents[process]))

    return [lab for process, lab in keepers.items() if descends(process)]


@pytest.mark.root
def test_the_demo_verifies_every_step_on_real_machines(temporary: dict[str, str]) -> None:
    before = strays()
    summary = told([], temporary)
    assert summary["sites"].startswith("real machines")
    until(lambda: set(strays()) <= set(before), HANGS_S, "every link of the demo to be gone")


def test_the_demo_verifies_every_step_on_the_lighter_ground_and_says_what_it_is(temporary: dict[str, str]) -> None:
    assert told(["--lighter"], temporary)["sites"].startswith("lighter sites")


def test_a_demo_without_exit_stays_up_to_play_with_until_ctrl_c(temporary: dict[str, str]) -> None:
    with subprocess.Popen(
        [DEMO, "--lighter"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=temporary
    ) as demo:
        assert demo.stdout
        hints = next(line for line in demo.stdout if "HOLDFAST_SOCKET=" in line)
        socket = hints.partition("HOLDFAST_SOCKET=")[2].split()[0]
        asked = [str(Path(sys.prefix) / "bin/holdfast"), "--socket", socket, "get", "sites", "-o", "name"]
        names = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        assert names == ["site/lyon", "site/osaka", "site/turin"]
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert demo.returncode == 0, rest


@pytest.mark.root
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_ended_half_way_takes_everything_down(ending: signal.Signals, temporary: dict[str, str]) -> None:
    before = strays()
    with subprocess.Popen([DEMO], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=temporary) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if line.startswith("2. "):  # hub and machines are there, agents are being started
                break
        (lab,) = labs_under(demo.pid)
        assert list(lab.iterdir())
        demo.send_signal(ending)
        rest = demo.stdout.read()
    assert demo.returncode == 130, rest
    assert not lab.exists()
    assert set(strays()) <= set(before)
