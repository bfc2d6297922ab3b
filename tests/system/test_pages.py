"""The commands that pages show within their lines and blocks, each run on a real hub and agent.

The README's tour and docs/device-data.md have tests of their own.
"""

import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support import mosquitto
from support.fleet import Agent, Answer, Hub, ended
from support.shown_commands import ELSEWHERE, ROOT, commands_shown
from support.waiting import HANGS_S, until

FOLDER = ROOT / "docs/examples"
APART = {"README.md", "device-data.md", "cli.md", "options.md"}  # tests of their own, and synopses
CHANGED = {  # the words really run, where a page's own stand for something
    "Deployment/press": "File/motd",
    '{"spec": {"replicas": 1}}': '{"spec": {"mode": "0600"}}',
    "/srv": "{root}",
    "SITE": "press-01",
    "NAME": "press-01",
    "DIR": "{fresh}",
    "KIND.spec": "File.spec",
    "ZONE": "Europe/Berlin",
    "--config": "",
    "/etc/holdfast/edge.toml": "",
}
TEXTS = {  # the same for whole texts, where it depends on the verb
    "holdfast describe instance NAME": "holdfast describe instance hello-west",
    "holdfast delete rebootrequest NAME": "holdfast delete rebootrequest {request}",
    "holdfast diff -f FILE": f"holdfast diff -f {FOLDER}/hello/changed",
    "holdfast bridge lint FILE": f"holdfast bridge lint {FOLDER}/bridge/hub.yaml",
}
ASKS = ("holdfast delete ", "holdfast site adopt")  # asks first, so it gets --yes
STATUS = {  # where it is not 0; those that answer yes or no do either
    "holdfast diff": {1},
    "holdfast site adopt": {4},  # it is not ahead
    "holdfast doctor": {0, 1},
    "holdfast ledger": {0, 1},
    "holdfast-edge plan": {0, 1},
    "holdfast-edge status": {0, 1},
}
ALONE = {  # commands that need no more than their verbs
    *("doctor", "get holds", "get overrides", "render", "schema"),
    *("override list", "ingest", "outbox", "plan", "status", "unit"),
}
LAST = ("delete instance web", "delete rebootrequest", "override list", "override drop", "edge plan", "edge status")
MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {colour: blue}\n"


def shown() -> list[str]:
    """Return every text once, in the order of the pages, and what undoes or needs another behind it."""
    texts = [each.text for each in commands_shown() if each.place.partition(":")[0] not in APART]
    once = [text for text in dict.fromkeys(texts) if " " in text and text not in ELSEWHERE and is_whole(text)]
    return sorted(once, key=lambda text: next((n for n, part in enumerate(LAST, 1) if part in text), 0))


def is_whole(text: str) -> bool:
    """Say whether a text is a command and no name of one, nor of an option: it says more than verbs, or needs no more."""
    named = re.fullmatch(r"holdfast(-edge)?( [a-z-]+)+", text) or text.startswith("holdfast site add --")
    return not named or text.partition(" ")[2] in ALONE


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose collector of metrics is not there, which costs it a line in its log."""
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    program.words += ["--telemetry", f"http://127.0.0.1:{mosquitto.free_port()}"]
    with ended(program):
        program.start()
        program.ready()
        yield program


@pytest.fixture(scope="module")
def agent(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("site") / "press-01"
    agent = Agent(hub, folder, "press-01", zone="west-europe")
    for name in ("blueprint.yaml", "instance.yaml"):
        text = (FOLDER / "hello" / name).read_text().replace("/tmp/press-01/motd", f"{agent.root}/motd")
        (folder / name).write_text(text)
    with ended(agent):
        agent.start()
        applied = hub.call("apply", "-f", folder / "blueprint.yaml", "-f", folder / "instance.yaml", "--wait")
        assert applied.status == 0, applied.err
        yield agent


def run(text: str, hub: Hub, agent: Agent, folder: Path) -> Answer:
    if text.startswith("holdfast site add press-01"):  # beside the site there is
        text = text.replace("press-01", "press-02")
    plain = re.sub(r" \[[^]]*\]|\.\.\.", "", TEXTS.get(text, text))
    words = [CHANGED.get(word, word) for word in shlex.split(plain)] + ["--yes"] * text.startswith(ASKS)
    fill = {"{fresh}": str(folder / "fresh"), "{root}": str(agent.root)}
    if "{request}" in words:
        (found,) = hub.call("get", "rebootrequests", "-o", "json").json["items"]
        fill["{request}"] = found["name"]
    program, *rest = [fill.get(word, word) for word in words if word]
    return hub.call(*rest) if program == "holdfast" else agent.call(*rest)


def test_what_the_pages_show_is_what_the_commands_do(
    hub: Hub, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(MANIFEST)
    wrong = []
    for number, text in enumerate(shown()):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(text, hub, agent, folder)
        if done.status not in next((codes for part, codes in STATUS.items() if text.startswith(part)), {0}):
            wrong.append(f"{text}: {done.status} {done.out[-300:]} {done.err[-500:]}")
    assert not wrong, "\n".join(wrong)


def test_the_api_answers_as_its_page_asks(hub: Hub, agent: Agent) -> None:
    (line,) = re.findall(r"^curl .*$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    words = shlex.split(line.replace("/run/holdfast/hub.sock", str(hub.socket)))
    done = subprocess.run([*words, "-s"], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert '"press-01"' in done.stdout
    assert hub.alive
    until(lambda: agent.status() != {}, HANGS_S, "the agent to answer still")


def test_a_copy_taken_while_the_hub_runs_starts_as_that_hub(hub: Hub, agent: Agent, tmp_path: Path) -> None:
    again = Hub(tmp_path / "again", listen=f"127.0.0.1:{mosquitto.free_port()}")
    again.data.mkdir(mode=0o700)
    for name in ("hub.db", "readings.db"):
        with (
            closing(sqlite3.connect(f"file:{hub.data / name}?mode=ro", uri=True)) as database,
            closing(sqlite3.connect(again.data / name)) as copy,
        ):
            database.backup(copy)
    shutil.copy2(hub.data / "hub.key", again.data)
    with ended(again):
        again.start()
        again.ready()
        listed = ["get", "sites", "-o", "name"]
        assert again.call(*listed).out == hub.call(*listed).out
        assert again.site("press-01")["name"] == "press-01"


def test_what_the_agent_and_the_hub_keep_is_on_the_page(hub: Hub, agent: Agent) -> None:
    page = (ROOT / "docs/operations.md").read_text().partition("## What is kept where")[2].partition("\n## ")[0]
    kept = [*(agent.folder / "state").iterdir(), *hub.data.iterdir()]
    names = {re.sub(r"-(wal|shm)$", "", path.name) for path in kept if not path.name.startswith(".")}
    assert {"edge.db", "hub.db", "readings.db"} <= names
    assert sorted(name for name in names if f"`{name}`" not in page) == []
