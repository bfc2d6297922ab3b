"""A real Mosquitto with the files of broker-config/, ready in milliseconds, on a free loopback port."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from holdfast_protocol.runtime.broker import STORE, configuration
from support.waiting import HANGS_S, until


class Mosquitto:
    """One broker: the same port and the same folder over all its restarts."""

    def __init__(self, config_name: str, folder: Path, port: int, listen: str, extra: str) -> None:
        self.host = listen
        self.port = port
        self.folder = folder
        self.store = folder / STORE  # what it saves; copy it away and back for an old state
        self._config = folder / config_name
        text = configuration(config_name, listen=listen, port=port, folder=folder)
        self._config.write_text(f"{text}\n{extra}\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start and return once it takes connections."""
        binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", binary, "-c", str(self._config)], stdout=log, stderr=log
            )
        until(self._answers, HANGS_S, "Mosquitto to take connections", every=0.002)

    def _answers(self) -> bool:
        if not self.alive:
            raise RuntimeError(f"Mosquitto ended: {self.log[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End in order: it saves its state."""
        self._end(kill=False)

    def kill(self) -> None:
        """SIGKILL: what was not saved is gone."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(HANGS_S)
        self._process = None

    def restart(self) -> None:
        """Start again with the state it saved; one that still runs is stopped in order first."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Forget everything. One that runs is killed and started again."""
        ran = self.alive
        self.kill()
        self.store.unlink(missing_ok=True)
        if ran:
            self.start()


_WORKER = int("0" + os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
_SHARE = 2000  # ports of one worker of the tests, below those the kernel gives to connections by itself
_PORTS = (12_000 + _WORKER * _SHARE + number % _SHARE for number in itertools.count(os.getpid()))


def free_port(listen: str = "127.0.0.1") -> int:
    """Return a port nobody listens on, and nobody else in this run of the tests is going to."""
    for port in itertools.islice(_PORTS, _SHARE):
        with contextlib.suppress(OSError), socket.create_server((listen, port)):
            return port
    raise RuntimeError("every port is taken")


def standing_in(folder: Path) -> list[int]:
    """Return the ids of processes started in a folder, as a broker of our own is."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to ask
            if os.readlink(path / "cwd") == str(folder):
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def running(
    config_name: str = "hub.conf", *, listen: str = "127.0.0.1", port: int = 0, extra: str = ""
) -> Iterator[Mosquitto]:
    """Yield a running broker; it and its folder are gone afterwards. `extra` is appended to its configuration."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-broker-"))
    broker = Mosquitto(config_name, folder, port or free_port(listen), listen, extra)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder)
