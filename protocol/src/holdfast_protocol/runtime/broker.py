"""The embedded broker: Mosquitto as a child that is started again when it dies and dies when its parent does.

A store it cannot read is set aside, because Mosquitto 2.0 would refuse to start for ever.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
from collections import deque
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

import anyio
import anyio.abc
from anyio import to_thread
from anyio.streams.text import TextReceiveStream

from holdfast_protocol.errors import MisuseError, PermanentError, UnsupportedError

FIRST_WAIT: Final = 0.1  # seconds before a restart, doubled up to the next
LONGEST_WAIT: Final = 30.0
LONGEST_DOWN: Final = 1.0  # the same for one that had come up: it was killed, or will come up again
STEADY: Final = 10.0  # seconds after which a child counts as having run well
STOP_WITHIN: Final = 5.0  # seconds from SIGTERM (Mosquitto saves its state) to SIGKILL
WORDS: Final = 2000  # characters of the child's last output that are kept
STORE: Final = "mosquitto.db"
CONFIG: Final = "mosquitto.conf"
_SBIN: Final = ":/usr/sbin:/usr/local/sbin"  # where it is, and where a user's PATH does not lead


def configuration(name: str, *, listen: str, port: int, folder: Path, user: str = "") -> str:
    """Return a file of broker-config with its places filled in. `user` "" is the user this process runs as."""
    text = _template(name)
    values = {"PORT": str(port), "LISTEN": listen, "FOLDER": str(folder), "USER": user or _own_name()}
    for place, value in values.items():
        if not value.isprintable() or value != value.strip():
            raise MisuseError(f"{place} {value!r} cannot stand in a line of a configuration")
        text = text.replace(f"@{place}@", value)
    return text


def _template(name: str) -> str:
    packaged = resources.files("holdfast_protocol") / "broker_config" / name
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[4] / "broker-config" / name).read_text(encoding="utf-8")  # an editable install


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "mosquitto"  # only root may change its user, and root has a name


class EmbeddedBroker:
    """One Mosquitto on `host`:`port` with its state in `folder`, which is made when it is not there.

    `text` is its configuration and `files` what that names, by name in the folder, where the child is started. As root it
    runs as `account` when that is not "".
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        text: str,
        *,
        files: Mapping[str, bytes] = MappingProxyType({}),
        account: str = "",
    ) -> None:
        self.starts = 0
        self.pid: int | None = None  # of the child; None while there is none
        self._folder = folder
        self._host = host
        self._port = port
        self._files = {**files, CONFIG: text.encode()}
        self._account = account
        self._ready = anyio.Event()
        self._words: deque[str] = deque()

    @property
    def last_words(self) -> str:
        """The end of what the child wrote: warnings and errors."""
        return "".join(self._words)[-WORDS:].strip()

    async def ready(self) -> None:
        """Return once the broker takes connections."""
        while not self._ready.is_set():
            await self._ready.wait()

    async def run(self) -> None:
        """Keep the broker running until cancelled. Raises UnsupportedError when there is no Mosquitto, PermanentError
        `AddressInUse` or `BrokerFailed` when it never came up."""
        command = _command(self._account)
        await to_thread.run_sync(self._prepare)
        await self._until_free()
        wait, ever = FIRST_WAIT, False
        while True:
            began = anyio.current_time()
            came_up, status = await self._run_child(command)
            ever = ever or came_up
            gave_up = not came_up and status > 0  # below 0 somebody killed it
            if gave_up and not await to_thread.run_sync(self._set_store_aside) and not ever:
                raise PermanentError(f"the broker does not start: {self.last_words}", reason="BrokerFailed")
            steady = anyio.current_time() - began > STEADY
            wait = FIRST_WAIT if steady else min(LONGEST_DOWN if came_up else LONGEST_WAIT, wait * 2)
            await anyio.sleep(wait)

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = pwd.getpwnam(self._account) if self._account else None
            for name, content in self._files.items():
                fresh = self._folder / f"{name}.new"
                fresh.unlink(missing_ok=True)
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
                    if owner is not None:
                        os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
                fresh.replace(self._folder / name)
            if owner is not None:
                for path in (self._folder, self._folder / STORE):
                    if os.path.lexists(path):  # what the child makes of its folder is followed nowhere
                        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        except (OSError, KeyError) as error:
            raise PermanentError(f"{self._folder}: {error}", reason="BrokerFailed") from error

    async def _until_free(self) -> None:
        """Wait for the broker of a parent that was killed to be gone, and for nobody else's."""
        deadline = anyio.current_time() + STOP_WITHIN
        while True:
            with socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self._host, self._port))
                except OSError as error:
                    if anyio.current_time() > deadline:
                        raise PermanentError(
                            f"no broker can listen on {self._host}:{self._port}: {error.strerror}",
                            reason="AddressInUse",
                            hint="stop what listens there, or name it as the broker to use",
                        ) from error
                else:
                    return
            await anyio.sleep(0.05)

    def _set_store_aside(self) -> bool:
        store = self._folder / STORE
        if not store.exists() or "in use" in self.last_words:
            return False
        store.replace(self._folder / f"{STORE}.unreadable")
        return True

    async def _run_child(self, command: list[str]) -> tuple[bool, int]:
        """Run one child to its end; return whether it took connections, and its exit status (minus the signal)."""
        self.starts += 1
        self._words.clear()
        # Where it stands its folder needs no way to it: whoever it runs as may not pass the folders above.
        process = await anyio.open_process(command, stdin=None, stdout=None, cwd=self._folder)
        self.pid = process.pid
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, process)
                async with anyio.create_task_group() as knocking:
                    knocking.start_soon(self._knock)
                    status = await process.wait()
                    knocking.cancel_scope.cancel()
        finally:
            came_up = self._ready.is_set()
            self._ready = anyio.Event() if came_up else self._ready
            with anyio.CancelScope(shield=True):
                await _stop(process)
            self.pid = None
        return came_up, status

    async def _listen(self, process: anyio.abc.Process) -> None:
        if process.stderr is not None:
            async for text in TextReceiveStream(process.stderr, errors="replace"):
                self._words.append(text[-WORDS:])
                while len(self._words) > 1 and sum(map(len, self._words)) > 2 * WORDS:
                    self._words.popleft()

    async def _knock(self) -> None:
        while True:
            try:
                stream = await anyio.connect_tcp(self._host, self._port)
            except OSError:
                await anyio.sleep(0.005)
            else:
                await stream.aclose()
                self._ready.set()
                return


def _command(account: str) -> list[str]:
    path = os.environ.get("PATH", os.defpath) + _SBIN
    mosquitto, setpriv = shutil.which("mosquitto", path=path), shutil.which("setpriv", path=path)
    if mosquitto is None:
        raise UnsupportedError("mosquitto is not installed here", reason="NoBroker", hint="apt-get install mosquitto")
    # The kernel ends the child when its parent is killed: no code of ours would run then. One that changed its user
    # itself would no longer be ended.
    guard = [setpriv, "--pdeathsig", "TERM"] if setpriv is not None else []
    if guard and account:
        guard += [f"--reuid={account}", f"--regid={account}", "--init-groups"]
    return [*guard, mosquitto, "-c", CONFIG]


async def _stop(process: anyio.abc.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(STOP_WITHIN):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.aclose()
