"""The wanted sources of device data, durable, with all that their loops need; and how each one does.

One small file each, readable by the agent alone: passwords and keys are in it.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec
from msgspec.structs import asdict

from holdfast_edge.core.sources import SourceState
from holdfast_protocol.wire.names import ResourceKey


class Kept(msgspec.Struct, frozen=True):
    """A source as applied: its spec, and the texts it refers to, by their place in the section."""

    key: ResourceKey
    name: str
    spec: dict[str, Any]
    materials: dict[str, str]
    digest: str  # of spec and materials

    @property
    def carries(self) -> bool:
        """Whether commands reach the devices seen there by it."""
        return any(isinstance(section, dict) and bool(section.get("commands")) for section in self.spec.values())


class Sources:
    """`kept` is what the files say, `states` what the loops report. Used from the event loop; `put` and `forget` block."""

    def __init__(self, folder: Path) -> None:
        self.states: dict[str, SourceState] = {}  # by key; the built-in source is "devices"
        self.revision = 0
        self.on_change: Callable[[], None] = lambda: None  # called when a source's condition changed
        self._folder = folder
        self._kept: Mapping[ResourceKey, Kept] | None = None
        self._waiting = anyio.Event()
        self._lock = threading.Lock()
        self._forgotten: set[ResourceKey] = set()

    @property
    def kept(self) -> Mapping[ResourceKey, Kept]:
        """Blocks at the first use; what was returned does not change. A file that cannot be read is as if it were not there:
        it is applied again."""
        with self._lock:
            if self._kept is None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = (_read(path) for path in sorted(self._folder.glob("*.json")))
                self._kept = {each.key: each for each in found if each is not None}
            return self._kept

    @property
    def is_whole(self) -> bool:
        """Whether every file there is could be read. Blocks."""
        return set(self._folder.glob("*.json")) <= {self._path(key) for key in self.kept}

    def shown(self, now: float) -> dict[str, dict[str, Any]]:
        """Return every source's state by key, with its rate; `now` in seconds since boot."""
        hidden = ("since", "counted")
        return {
            key: {name: value for name, value in asdict(state).items() if name not in hidden}
            | {"per_s": state.rate(now)}
            for key, state in sorted(self.states.items())
        }

    def put(self, kept: Kept) -> None:
        """Keep a source; durable on return."""
        held, path = self.kept, self._path(kept.key)
        temporary = path.with_suffix(".new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(self._folder)
        self._kept = {**held, kept.key: kept}

    def forget(self, key: ResourceKey) -> None:
        """Let a source go, what a cut left of it too; durable on return. Absent already is success."""
        held, path = self.kept, self._path(key)
        for each in (path, path.with_suffix(".new")):
            each.unlink(missing_ok=True)
        sync_folder(self._folder)
        with self._lock:
            self._forgotten.add(key)
            self._kept = {other: kept for other, kept in held.items() if other != key}

    def forgotten(self) -> set[ResourceKey]:
        """Return what was let go since this was asked last, also what is kept again by now."""
        with self._lock:
            found, self._forgotten = self._forgotten, set()
            return found

    def tell(self) -> None:
        """Wake who runs the loops."""
        self.revision += 1
        self._waiting.set()
        self._waiting = anyio.Event()

    async def changed(self, revision: int) -> None:
        """Return once `revision` is no longer the current one."""
        while self.revision == revision:
            await self._waiting.wait()

    def _path(self, key: ResourceKey) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
