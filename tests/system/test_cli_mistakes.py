"""What people do to the holdfast command by mistake: one line says what and where, never a traceback."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mosquitto
from support.fleet import BIN, Agent, Hub, ended
from support.waiting import HANGS_S, until

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/hello/blueprint.yaml"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        yield program


@pytest.fixture(scope="module")
def agent(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    program = Agent(hub, tmp_path_factory.mktemp("site") / "press-01", "press-01")
    with ended(program):
        program.start()
        yield program


def outside(agent: Agent) -> str:
    """An instance that writes where the agent may not."""
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: hello-west\nspec:\n"
        f"  path: {agent.root.parent}/outside/motd\n  placement:\n    labelSelector: {{}}\n"
    )


@pytest.mark.parametrize("words", [("get", "sites"), ("schema", "File", "-o", "json")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_on_a_full_disk_is_said_in_a_line(
    hub: Hub, agent: Agent, words: tuple[str, ...], unbuffered: str
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [BIN / "holdfast", "--socket", hub.socket, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 8, done.stderr
    assert "the output cannot be written: No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_the_hub_s_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    words = ["--socket", tmp_path / "s.sock", "up", "--data-dir", taken, "--broker-listen", "127.0.0.1:1"]
    done = subprocess.run([BIN / "holdfast", *words], capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 2
    assert done.stderr == f"error: {taken}: File exists\n"


def test_an_export_replaces_no_device_and_says_which_folder_is_not_there(hub: Hub, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = hub.call("export", "--out", pipe)
    assert (done.status, pipe.is_fifo()) == (2, True)
    assert "no plain file" in done.err
    done = hub.call("export", "--out", tmp_path / "none/readings.csv")
    assert done.status == 2
    assert str(tmp_path / "none") in done.err
    assert "Traceback" not in done.err


def test_applying_again_with_wait_is_no_success_while_its_site_fails(hub: Hub, agent: Agent) -> None:
    assert hub.call("apply", "-f", EXAMPLE).status == 0
    words = ("apply", "-f", "-", "--wait", "--timeout", "1")
    assert hub.call(*words, given=outside(agent)).status == 7
    again = hub.call(*words, given=outside(agent))
    assert "unchanged" in again.out
    assert again.status == 7, again.err
    assert "press-01 is" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("wait", "site/press-01", "--for", "Convrged"), "one of Applying, Conflict, Converged"),
        (("readings", "--every", "5x"), "try: 90s, 30m, 1h30m, 2d"),
        (("ingest", "test", "nosuch.yaml", "-"), "error: nosuch.yaml: No such file"),
        (("bridge", "lint", "nosuch.yaml"), "error: nosuch.yaml: No such file"),
        (("device", "command", "press-01", "open"), "'press-01' is not SITE/DEVICE"),
        (("device", "forget", "/oven"), "'/oven' is not SITE/DEVICE"),
        (("describe", "device", "press-01"), "'press-01' is not SITE/DEVICE"),
    ],
)
def test_wrong_words_say_what_would_be_right(hub: Hub, words: tuple[str, ...], said: str) -> None:
    done = hub.call(*words)
    assert done.status == 2, done.err
    assert said in done.err
    assert "Errno" not in done.err


@pytest.mark.parametrize("words", [("--profile", "large"), ("--broker", "nowhere")])
def test_a_site_whose_kit_cannot_be_written_is_said_to_be_there(
    hub: Hub, tmp_path: Path, words: tuple[str, ...]
) -> None:
    name = words[-1]
    done = hub.call("site", "add", name, "--kit", tmp_path / "kit", *words)
    assert done.status == 8, done.err
    assert f"site/{name} is added, its kit is not: " in done.err
    assert "nothing was changed" not in done.err
    assert f"try: holdfast site kit {name}" in done.err
    assert hub.call("get", "site", name).status == 0
    assert hub.call("site", "kit", name, tmp_path / "kit").status == 0


def test_a_table_on_a_narrow_terminal_keeps_every_name_whole(hub: Hub, agent: Agent) -> None:
    until(lambda: hub.site("press-01")["nodes"], HANGS_S, "the node")
    environment = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "", "COLUMNS": "30"}
    for words in (("get", "sites"), ("describe", "site", "press-01")):
        done = subprocess.run(
            [BIN / "holdfast", "--socket", hub.socket, *words], capture_output=True, text=True, env=environment
        )
        shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        assert any(line.split()[:1] in (["press-01"], ["node-1"]) for line in shown.splitlines()), shown
        assert "…" not in shown


def test_what_went_wrong_at_a_site_is_described_within_a_hundred_columns(hub: Hub, agent: Agent) -> None:
    hub.call("apply", "-f", EXAMPLE)
    hub.call("apply", "-f", "-", given=outside(agent))
    until(lambda: hub.site("press-01")["state"] == "Failed", HANGS_S, "the site to say that it cannot")
    shown = hub.call("describe", "site", "press-01").out
    sections = dict(part.split(":\n", 1) for part in shown.split("\n\n") if ":\n" in part)
    for section in ("Resources", "Progress"):
        row, *notes = sections[section].splitlines()[1:]
        assert len(row) <= 100
        assert "OutsideRoots" in row
        assert any(note.startswith("    message: ") and note.endswith("may be written in") for note in notes)
        assert f"    hint: allowed here: {agent.root}" in notes


def test_describe_shows_facts_once_and_as_text(hub: Hub, agent: Agent) -> None:
    until(lambda: hub.site("press-01")["nodes"], HANGS_S, "the node")
    shown = hub.call("describe", "site", "press-01").out
    assert "FACTS" not in shown
    assert "arch=" in shown
    assert "['" not in shown
    assert not re.search(r"\b[0-9a-f]{64}\b", shown)
    assert json.loads(hub.call("describe", "site", "press-01", "-o", "json").out)["nodes"][0]["facts"]
