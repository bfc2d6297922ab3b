"""A container engine of our own: dockerd by hand, with one image, no registry and no network it could harm.

Needs root and dockerd. Everything it made is gone at the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from support.images import busybox_tar
from support.waiting import HANGS_S

IMAGE = "holdfast.test/box:1"
OTHER_IMAGE = "holdfast.test/box:2"
_DOCKERD = ("/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd")


class RealEngine:
    """`url` is its socket; `client` speaks to it past the code under test, as a person with `docker` would."""

    def __init__(self, folder: Path, *, bridge: bool = False) -> None:
        """With `bridge` the engine lives in a network namespace of its own and gives containers addresses there."""
        self.folder = folder
        self.url = f"unix://{folder}/engine.sock"
        self._bridge = bridge
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    @property
    def client(self) -> Any:
        if self._client is None:
            self._client = docker.APIClient(base_url=self.url, version="auto", timeout=HANGS_S)
        return self._client

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        program = next((path for path in _DOCKERD if os.path.exists(path)), "dockerd")
        network = (
            [] if self._bridge else ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        )
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(["unshare", "--net"] if self._bridge else []),
                    *("setpriv", "--pdeathsig", "TERM"),
                    program,
                    f"--data-root={self.folder}/data",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/engine.pid",
                    f"--host={self.url}",
                    "--shutdown-timeout=1",
                    *network,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + HANGS_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{(self.folder / 'engine.log').read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the engine as its unit would; containers end with it."""
        self._forget_client()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(HANGS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(HANGS_S)
        self._process = None

    def clear(self) -> None:
        """Remove every container, whoever made it."""
        for listed in self.client.containers(all=True):
            self.client.remove_container(listed["Id"], force=True, v=True)

    def load(self, reference: str, marker: str = "") -> None:
        """Make an image of busybox; another `marker` gives another image."""
        repository, _, tag = reference.rpartition(":")
        self.client.import_image_from_data(busybox_tar({"/etc/marker": marker}), repository=repository, tag=tag)

    def run_foreign(self, name: str, **options: Any) -> str:
        """Start a container that is none of Holdfast's and return its id."""
        made = self.client.create_container(IMAGE, ["/bin/sleep", "3600"], name=name, **options)
        self.client.start(made["Id"])
        return str(made["Id"])

    def run_inside(self, container: str, *command: str) -> str:
        """Return what a command in a container prints."""
        made = self.client.exec_create(container, list(command))
        return bytes(self.client.exec_start(made["Id"])).decode()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # the SDK leaks its socket when nobody listens
            if probe.connect_ex(self.url.removeprefix("unix://")) != 0:
                return False
        try:
            return bool(self.client.ping())
        except docker.errors.DockerException:  # it listens before it can answer
            return False

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


@contextmanager
def running_engine(*, bridge: bool = False) -> Iterator[RealEngine]:
    """Yield an engine with IMAGE and OTHER_IMAGE; stop it and remove all traces at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hf-engine-"))
    engine = RealEngine(folder, bridge=bridge)
    try:
        engine.start()
        engine.load(IMAGE)
        engine.load(OTHER_IMAGE, marker="2")
        yield engine
        if engine._process is None:
            engine.start()
        engine.clear()
    finally:
        engine.stop()
        unmount_below(folder)
        shutil.rmtree(folder)


def unmount_below(folder: Path) -> None:
    """dockerd leaves mounts of its own when it was killed; the deepest go first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
