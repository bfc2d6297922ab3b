"""holdfast-edge, the command: an agent as a process, without any hub, and what people ask it."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.cli.main import main
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.targets import Targets
from holdfast_protocol.wire import target
from support.builders import HUB, a_target, file_body
from support.site import TRUST
from support.waiting import HANGS_S, until


class Edge:
    """A folder with settings, key and target; the agent runs when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "edge.toml"
        self.files = folder / "files"
        self.state = folder / "state"
        self.files.mkdir()
        (folder / "key").write_text(base64.b64encode(bytes(range(32, 64))).decode())
        self.config.write_text(
            f"""
fleet = "acme"
site = "press-01"
state_dir = "state"
key_file = "key"
hub = {{host = "127.0.0.1", port = 1}}
trust.keys = [{{public = "{base64.b64encode(HUB.public).decode()}"}}]
providers.file_roots = ["{self.files}"]
timing = {{look_every_s = 1, soak_s = 0.2}}
quotas = {{ballast = 0}}
"""
        )
        self.process: subprocess.Popen[bytes] | None = None

    def give(self, *bodies: Any, generation: int = 1) -> None:
        """Put a target where the agent finds it, as if it had come before the link was lost."""
        wanted = a_target(*bodies, generation=generation)
        envelope = target.seal(wanted, [HUB])

        async def accept() -> None:
            opened = open_edge(self.state)
            store = Targets(opened.database, self.state, TRUST)
            await store.accept(store.open(envelope), envelope, at=0, reason="received")
            opened.database.close()

        anyio.run(accept)

    def file(self, name: str, content: str = "hello\n") -> dict[str, Any]:
        return file_body(name, str(self.files / name), content)

    def start(self, **environment: str) -> None:
        words = [sys.executable, "-m", "holdfast_edge.cli.main", "run", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, **environment})
        until(lambda: (self.state / "control.sock").exists(), HANGS_S, "the control socket")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(HANGS_S)
        self.process = None
        return status

    def ask(self, *words: str) -> int:
        return main([*words, "--config", str(self.config)])

    def converged(self) -> None:
        until(lambda: self.ask("status") == 0, HANGS_S, "convergence")


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Edge]:
    made = Edge(tmp_path)
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    made = Edge(tmp_path_factory.mktemp("edge"))
    made.give(made.file("a"), made.file("b"))
    made.start()
    made.converged()
    yield made
    assert made.stop() == 0


Captured = pytest.CaptureFixture[str]


def test_status_says_what_is_as_wanted(running: Edge, capsys: Captured) -> None:
    capsys.readouterr()
    assert running.ask("status") == 0
    text = capsys.readouterr().out
    assert text.startswith("press-01/node-1 of acme: Converged\ntarget epoch 1 generation 1, ")
    assert "File/a    Ready      AsWanted" in text

    def told() -> Any:
        assert running.ask("status", "-o", "json") == 0
        answer = json.loads(capsys.readouterr().out)
        return answer if answer["outbox"]["p0"]["rows"] >= 3 else None

    answer = until(told, HANGS_S, "its reports to be in the outbox")
    assert answer["running"]
    assert answer["status"]["observed_digest"] == answer["status"]["digest"]
    assert answer["link"]["failures"] >= 1


def test_readings_there_are_none_of_are_named_and_a_hold_has_a_longest_time(running: Edge, capsys: Captured) -> None:
    assert running.ask("readings") == 0
    assert capsys.readouterr().out == "no readings since the agent was started\n"
    assert running.ask("readings", "oven", "--metric", "t") == 0
    assert capsys.readouterr().out == "no readings of oven t since the agent was started\n"
    assert running.ask("hold", "--for", "31d", "--reason", "leave") == 2
    assert "a hold lasts at most 30 days" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        running.ask("hold", "--for", "soon", "--reason", "leave")
    assert "'soon' is no length of time: 90s, 30m, 1h30m, 2d" in capsys.readouterr().err
    assert running.ask("hold", "--for", "1h30m", "--reason", "leave", "-o", "json") == 0
    assert running.ask("hold", "--release", json.loads(capsys.readouterr().out)["hold"]["id"]) == 0
    assert running.ask("override", "set", "File/a", "--patch", "{bad", "--reason", "x") == 2
    said = capsys.readouterr().err
    assert said == "error: the patch: expected ',' or '}', but got '<stream end>' at line 1, column 5\n"


def test_plan_says_nothing_to_do_and_what_a_hold_holds_back(running: Edge, capsys: Captured) -> None:
    assert running.ask("plan") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert running.ask("hold", "File/a", "--for", "5m", "--reason", "testing by hand", "-o", "json") == 0
    hold = json.loads(capsys.readouterr().out)["hold"]["id"]
    (running.files / "a").unlink()
    until(lambda: running.ask("plan") == 1, HANGS_S, "drift to be noticed")
    capsys.readouterr()
    assert running.ask("plan", "-o", "json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "plan": [
            {
                "key": "File/a",
                "step": "File/a is held",
                "when": "held",
                "why": f"by {hold}: testing by hand",
            }
        ]
    }
    assert running.ask("status") == 1
    assert "Held" in capsys.readouterr().out
    assert running.ask("hold", "--list") == 0
    assert "on File/a: testing by hand (uid " in capsys.readouterr().out
    assert running.ask("hold", "--release", hold) == 0
    running.converged()
    assert (running.files / "a").read_text() == "hello\n"
    capsys.readouterr()
    assert running.ask("hold", "--list") == 0
    assert capsys.readouterr().out == "no holds\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["hold"], 2, "needs a reason"),
        (["hold", "--reason", "x", "--for", "31d"], 2, "at most"),
        (["hold", "--release", "nosuch"], 3, "no hold 'nosuch'"),
        (["hold", "--reason", "x", "motd"], 2, "'motd' is not KIND/NAME"),
        (["bridge", "nosuch"], 3, "no bridge 'nosuch'"),
        (["ingest", "test", "nosuch.yaml", "-"], 2, "nosuch.yaml: No such file or directory"),
    ],
)
def test_a_wrong_question_has_its_exit_code(
    running: Edge, capsys: Captured, words: list[str], code: int, said: str
) -> None:
    assert running.ask(*words) == code
    assert said in capsys.readouterr().err
    assert running.ask(*words, "-o", "json") == code
    assert said in json.loads(capsys.readouterr().err)["error"]["message"]


def test_a_hold_of_what_the_target_has_not_says_so(running: Edge, capsys: Captured) -> None:
    assert running.ask("hold", "--reason", "x", "Fil/a", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["not_there"] == ["Fil/a"]
    assert running.ask("hold", "--release", answer["hold"]["id"]) == 0
    assert running.ask("hold", "--reason", "x", "Fil/a") == 0
    said = capsys.readouterr()
    assert "the target has no Fil/a now" in said.err
    assert running.ask("hold", "--release", said.out.splitlines()[-1].split()[0]) == 0


def test_an_output_on_a_full_disk_is_said_in_a_line(running: Edge) -> None:
    command = [Path(sys.executable).with_name("holdfast-edge"), "status", "--config", running.config]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_the_version_is_told(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert "holdfast-edge, version" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["hold", "--for", "soon"], ["status", "-o", "yaml"]])
def test_wrong_words_are_usage(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: holdfast-edge" in capsys.readouterr().err


@pytest.mark.invariant("one-writer-per-database")
def test_a_second_agent_on_the_same_state_is_refused(running: Edge, capsys: Captured) -> None:
    assert running.ask("run") == 4
    assert "another agent uses" in capsys.readouterr().err


GARBAGE = [
    b'{"do":"\xff"}\n',
    b'{"do":' + b"[" * 100_000 + b"\n",
    b'{"do":"hold","reason":"\\ud800","seconds":1}\n',
    b'{"do":"hold","reason":"x","seconds":1e999}\n',
    b'{"do":"hold"',
    b"x" * 2_000_000,
    b"",
]


def test_whatever_is_written_to_its_socket_the_agent_goes_on(running: Edge, capsys: Captured) -> None:
    for garbage in GARBAGE:
        with socket.socket(socket.AF_UNIX) as asked, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            asked.connect(str(running.state / "control.sock"))
            asked.sendall(garbage)
    assert running.ask("hold", "--list") == 0
    assert capsys.readouterr().out == "no holds\n"
    assert running.process is not None
    assert running.process.poll() is None


def test_without_an_agent_the_last_status_is_shown_and_said_to_be_old(stopped: Edge, capsys: Captured) -> None:
    assert stopped.ask("status") == 3
    assert "has left no status" in capsys.readouterr().err
    stopped.give(stopped.file("a"))
    stopped.start()
    stopped.converged()
    stopped.stop()
    capsys.readouterr()
    assert stopped.ask("status") == 6
    shown = capsys.readouterr()
    assert "press-01/node-1 of acme: Converged" in shown.out
    assert "the agent is not running" in shown.err
    assert stopped.ask("plan") == 6
    assert stopped.ask("hold", "--list") == 6


@pytest.mark.invariant("hub-silence-changes-nothing")
def test_after_a_kill_and_with_no_network_the_site_is_restored(stopped: Edge) -> None:
    stopped.give(stopped.file("a"), stopped.file("b"))
    stopped.start()
    stopped.converged()
    stopped.stop(signal.SIGKILL)
    (stopped.files / "a").unlink()
    (stopped.files / "b").write_text("tampered")
    (stopped.state / "control.sock").unlink()
    stopped.start()
    stopped.converged()
    assert [(stopped.files / name).read_text() for name in "ab"] == ["hello\n", "hello\n"]


@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_a_target_cannot_write_the_agents_own_files(stopped: Edge) -> None:
    stopped.config.write_text(stopped.config.read_text().replace(f'["{stopped.files}"]', f'["{stopped.folder}"]'))
    own = [stopped.config, stopped.folder / "key", stopped.state / "edge.db", stopped.state / "new"]
    before = [path.read_bytes() for path in own[:2]]
    stopped.give(*(file_body(f"f{n}", str(path)) for n, path in enumerate(own)), stopped.file("ok"))
    stopped.start()
    until(lambda: (stopped.files / "ok").exists(), HANGS_S, "the rest of the target")
    assert [path.read_bytes() for path in own[:2]] == before
    assert not own[3].exists()


def test_the_supervisor_is_told_what_happens(stopped: Edge) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(stopped.folder / "notify"))
        supervisor.settimeout(10)
        stopped.start(NOTIFY_SOCKET=str(stopped.folder / "notify"), WATCHDOG_USEC="100000")
        assert supervisor.recv(100) == b"READY=1"
        assert [supervisor.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        assert stopped.stop() == 0
        last = b""
        while last != b"STOPPING=1":
            last = supervisor.recv(100)


def test_settings_are_checked_before_anything_starts(stopped: Edge, capsys: Captured) -> None:
    stopped.config.write_text(stopped.config.read_text().replace("file_roots", "file_rots"))
    assert stopped.ask("run") == 2
    assert "try: did you mean file_roots?" in capsys.readouterr().err
    stopped.config.write_text(stopped.config.read_text().replace('"press-01"', '"Press 01"') + "\nnonsense = 1\n")
    assert stopped.ask("run") == 2
    assert "unknown field 'nonsense'" in capsys.readouterr().err
    assert not stopped.state.exists()
    assert main(["status", "--config", str(stopped.folder / "missing.toml")]) == 2


@pytest.mark.root
def test_another_user_is_not_heard_whatever_the_modes_say(capsys: Captured) -> None:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-edge-"))
    edge = Edge(folder)
    try:
        edge.give(edge.file("a"))
        edge.start()
        edge.converged()
        folder.chmod(0o755)
        edge.state.chmod(0o711)
        (edge.state / "control.sock").chmod(0o666)
        capsys.readouterr()
        os.seteuid(65534)
        try:
            assert edge.ask("hold", "--reason", "mischief") == 5
        finally:
            os.seteuid(0)
        assert "user 65534 may not control this agent" in capsys.readouterr().err
        assert edge.ask("hold", "--list") == 0
        assert capsys.readouterr().out == "no holds\n"
    finally:
        edge.stop()
        shutil.rmtree(folder)


def test_a_database_can_be_looked_into_with_sqlite_utils(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "edge.db")
    database.execute("CREATE TABLE targets (epoch, generation)")
    database.close()
    command = [Path(sys.executable).with_name("holdfast-edge"), "db", "tables", tmp_path / "edge.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"table": "targets"}]
