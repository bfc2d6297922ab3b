"""A container registry of our own: Debian's docker-registry by hand, on loopback, with a folder of its own."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.waiting import HANGS_S

_CONFIG = """
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}/images
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
"""
_LOGIN = """
auth:
  htpasswd:
    realm: bastion
    path: {folder}/htpasswd
"""


@contextmanager
def running_registry(folder: Path, port: int, *, inside: Sequence[str] = (), login: str = "") -> Iterator[str]:
    """Yield `127.0.0.1:port`. `inside`: the command that enters the network it is to be in. `login`: an htpasswd line."""
    config = folder / "registry.yml"
    config.write_text((_CONFIG + (_LOGIN if login else "")).format(folder=folder, port=port))
    (folder / "htpasswd").write_text(login + "\n")
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen(
            [*inside, "docker-registry", "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        deadline = time.monotonic() + HANGS_S
        probe = [*inside, "busybox", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}/"]
        while subprocess.run(probe, check=False, capture_output=True).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start:\n{(folder / 'registry.log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(HANGS_S)
