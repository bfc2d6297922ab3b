"""Podman's service by hand: the other engine behind the same API, with one image and a network of its own.

Needs root and podman. It lives in process and network namespaces of its own, so nothing of it outlives the tests.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.engine import IMAGE, OTHER_IMAGE, RealEngine, unmount_below
from support.waiting import HANGS_S

_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


class PodmanEngine(RealEngine):
    """As RealEngine. `pid` is in its network, not in its process namespace."""

    def start(self) -> None:
        settings = self.folder / "containers.conf"
        settings.write_text(_SETTINGS.format(folder=self.folder))
        (self.folder / "networks").mkdir(exist_ok=True)
        Path("/run/containers").mkdir(exist_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "TERM"),
                    *("unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
                    *("sh", "-c", 'mount -t tmpfs tmpfs /run/containers && exec "$@"', "sh"),  # its name server's state
                    *("podman", "--root", f"{self.folder}/data", "--runroot", f"{self.folder}/run"),
                    *("--tmpdir", f"{self.folder}/tmp", "--storage-driver", "vfs"),
                    *("system", "service", "--time", "0", self.url),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "CONTAINERS_CONF": str(settings)},
                start_new_session=True,
            )
        deadline = time.monotonic() + HANGS_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"podman did not start:\n{(self.folder / 'engine.log').read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Its process namespace ends with it, and everything in there."""
        self._forget_client()
        if self._process is not None:
            self._process.kill()
            self._process.wait(HANGS_S)
            self._process = None

    def load(self, reference: str, marker: str = "") -> None:
        """Its import takes no tag, so the image is named afterwards."""
        repository, _, tag = reference.rpartition(":")
        super().load(f"{repository}:latest", marker)
        self.client.tag(f"{repository}:latest", repository, tag)
        self.client.remove_image(f"{repository}:latest")


@contextmanager
def running_podman() -> Iterator[PodmanEngine]:
    """Yield an engine with IMAGE and OTHER_IMAGE; stop it and remove all traces at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hf-podman-"))
    engine = PodmanEngine(folder)
    try:
        engine.start()
        engine.load(IMAGE)
        engine.load(OTHER_IMAGE, marker="2")
        yield engine
        engine.clear()
    finally:
        engine.stop()
        unmount_below(folder)
        shutil.rmtree(folder)
