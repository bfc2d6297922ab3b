"""A PostgreSQL server of the test's own, on a socket in a folder; never the machine's."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import waiting
from support.waiting import HANGS_S


class Server:
    """`connection` is what libpq takes. `stop` and `start` keep the data."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        owner = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._owner = owner
        self.connection = (
            f"host={folder} dbname=postgres user={owner.get('user') or pwd.getpwuid(os.geteuid()).pw_name}"
        )
        command = [programs / "initdb", "-D", folder / "data", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **owner)  # type: ignore[call-overload]

    def start(self) -> None:
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "shared_buffers=16MB")
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(word for each in settings for word in ("-c", each))],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._owner,  # type: ignore[arg-type]
            )
        ready = [self._programs / "pg_isready", "-q", "-h", self.folder]
        waiting.until(lambda: subprocess.run(ready, check=False).returncode == 0, HANGS_S, "PostgreSQL")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # fast: clients are sent away
            self._process.wait(HANGS_S)
            self._process = None


@contextmanager
def running() -> Iterator[Server]:
    """Yield a server that has started; it and its data are gone afterwards."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    with tempfile.TemporaryDirectory(prefix="hf-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(folder, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop()
