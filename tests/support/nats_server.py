"""A real nats-server with JetStream in a folder of its own, on a free loopback port; it is gone afterwards."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.mosquitto import free_port
from support.waiting import HANGS_S, until


class NatsServer:
    """The same port and the same folder over its restarts. `extra` is appended to its configuration."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        (folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: {folder}/store, max_mem: 1M, max_file: 64M }}\n{extra}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and return once it takes connections."""
        binary = shutil.which("nats-server") or "/usr/sbin/nats-server"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", str(self._folder / "nats.conf")], stdout=log, stderr=log)
        until(self._answers, HANGS_S, "nats-server to take connections", every=0.005)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"nats-server ended: {(self._folder / 'log').read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(HANGS_S)
            self._process = None


@contextlib.contextmanager
def running(extra: str = "") -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="holdfast-nats-") as name:
        server = NatsServer(Path(name), extra)
        try:
            server.start()
            yield server
        finally:
            server.kill()
