"""A small fleet of real processes: hub, agents, and a publisher whose every acknowledged reading is remembered."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from holdfast_edge.cli.client import ask
from holdfast_edge.cli.exits import CliError as EdgeError
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import CliError as HubError
from support import mosquitto, publisher
from support.waiting import HANGS_S, until

BIN = Path(sys.prefix) / "bin"


class Program:
    """One child of ours, started and killed by hand; its output goes to a file."""

    def __init__(self, words: Sequence[str | Path], log: Path) -> None:
        self.words = [str(word) for word in words]
        self.enter: Sequence[str] = ()  # words before these, for a life in other namespaces
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.enter, "setpriv", "--pdeathsig", "KILL", "--", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int | None:
        """SIGTERM; return its exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(HANGS_S)
        status = self._process.poll()
        self.kill()
        return status


class Answer:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Hub(Program):
    """`holdfast up` on an existing broker, or with its own when `listen` is given."""

    def __init__(self, folder: Path, *, broker: str = "", listen: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.socket = folder, folder / "data", folder / "hub.sock"
        where = ["--broker", broker] if broker else ["--broker-listen", listen]
        words = ["--socket", self.socket, "up", "--data-dir", self.data, "--fleet", "acme", *where]
        super().__init__([BIN / "holdfast", *words], folder / "hub.log")

    def call(self, *words: str | Path, given: str | None = None) -> Answer:
        """Run `holdfast WORDS` against this hub."""
        return Answer(
            subprocess.run(
                [str(BIN / "holdfast"), "--socket", str(self.socket), *(str(word) for word in words)],
                capture_output=True,
                text=True,
                input=given,
                timeout=2 * HANGS_S,
                env={**os.environ, "NO_COLOR": "1"},
            )
        )

    @property
    def api(self) -> Client:
        """What `call` is too much for: something that is asked again and again until it is so."""
        return Client(str(self.socket))

    def ready(self, within: float = HANGS_S) -> None:
        """Return once it answers."""

        def answers() -> bool:
            assert self.alive, f"the hub ended: {self.log.read_text(errors='replace')[-2000:]}"
            with suppress(HubError):
                self.api.get("/v1/sites")
                return True
            return False

        until(answers, within, "the hub to answer")

    def site(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v1/sites/{name}")
        return found


class Agent(Program):
    """`holdfast-edge run` from a kit, with a state folder and a root for files of its own."""

    def __init__(
        self,
        hub: Hub,
        folder: Path,
        name: str,
        *,
        zone: str = "west",
        devices: int = 0,
        own_broker: int = 0,
        systemd: str = "",
    ) -> None:
        """`devices` is the port of the site's broker, `own_broker` that of one the agent runs, 0 for none; `systemd` which
        one, "" for none."""
        self.folder, self.name = folder, name
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        words: list[str | Path] = ["--file-root", self.root, "--state-dir", folder / "state", "--kit", folder]
        if devices:
            words += ["--devices", f"127.0.0.1:{devices}"]
        if own_broker:
            words += ["--device-broker", f"127.0.0.1:{own_broker}"]
        if systemd:
            words += ["--systemd", systemd]
        added = hub.call("site", "add", name, "--label", f"zone={zone}", *words)
        assert added.status == 0, added.err
        self.config = folder / "edge.toml"
        with self.config.open("a") as config:
            config.write("\n[timing]\nlook_every_s = 2.0\nsoak_s = 1.0\n")
        super().__init__([BIN / "holdfast-edge", "run", "--config", self.config], folder / "agent.log")

    def call(self, *words: str | Path) -> Answer:
        """Run `holdfast-edge WORDS` against this agent."""
        verb, *rest = [str(word) for word in words]
        return Answer(
            subprocess.run(
                [*self.enter, str(BIN / "holdfast-edge"), verb, "--config", str(self.config), *rest],
                capture_output=True,
                text=True,
                timeout=2 * HANGS_S,
            )
        )

    def status(self) -> dict[str, Any]:
        """Return the status it gives at the site; {} while it does not answer. Past its command line, being asked often."""
        if self.enter:  # its folder may be another one there
            answer = self.call("status", "-o", "json")
            return dict(answer.json) if answer.out and answer.json["running"] else {}
        try:
            return ask(self.folder / "state", {"do": "status"})
        except EdgeError:
            return {}


@contextmanager
def ended(*programs: Program) -> Iterator[None]:
    """Kill these programs at the end, whatever happened."""
    try:
        yield
    finally:
        for program in programs:
            program.kill()


def publishers(folder: Path, port: int, count: int) -> tuple[list[Program], list[Path]]:
    """Return devices press-0, … that publish through the broker at `port`, and the files of what each was told is safe."""
    files = [folder / f"sent-{number}" for number in range(count)]
    words = [sys.executable, publisher.__file__, "127.0.0.1", str(port)]
    return [
        Program([*words, f"press-{number}", path, "60"], folder / "devices.log") for number, path in enumerate(files)
    ], files


def published(files: Sequence[Path]) -> Counter[tuple[str, int]]:
    """Return how often each device was told that a value is safe."""
    return Counter(
        (f"press-{number}", int(value)) for number, path in enumerate(files) for value in path.read_text().split()
    )


def kill_one(chance: random.Random, agent: Agent, hub: Hub, broker: mosquitto.Mosquitto) -> None:
    """Kill the agent, the hub or its broker, which loses its store in three of ten, and start it again."""
    victim = chance.choice(("agent", "hub", "broker"))
    if victim == "agent":
        agent.kill()
        agent.start()
    elif victim == "hub":
        hub.kill()
        hub.start()
    else:
        broker.kill()
        if chance.random() < 0.3:
            broker.wipe()
        broker.restart()
