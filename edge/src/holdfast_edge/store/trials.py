"""Trials on disk: what is tried, and what was tried and must not be again.

In a file of its own, not in the database: the guard that goes back when the agent cannot reads it, and may have to while
the database is damaged. Durable before the first effect.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.core.trial import Trial
from holdfast_edge.store import copies
from holdfast_protocol.wire.names import ResourceKey

NAME: Final = "trial.json"
MAX_SIZE: Final = 16 * 1024 * 1024  # bytes
MAX_REFUSED: Final = 200


class Refused(msgspec.Struct, frozen=True):
    """A change that was gone back from: it is not made again before a person says so."""

    digest: str  # of what was asked for
    cause: str


class Kept(msgspec.Struct, frozen=True):
    trial: Trial | None = None
    refused: dict[ResourceKey, Refused] = {}


class Trials:
    """Loaded once, then written through."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._kept = read(folder)
        self._lock = anyio.Lock()

    @property
    def current(self) -> Trial | None:
        return self._kept.trial

    @property
    def refused(self) -> Mapping[ResourceKey, Refused]:
        return self._kept.refused

    async def put(self, trial: Trial | None, refused: Mapping[ResourceKey, Refused] | None = None) -> None:
        """Keep this, durable on return. Raises TransientError when the disk refuses."""
        async with self._lock:
            await self._keep(Kept(trial, dict(self.refused if refused is None else refused)))

    async def forgive(self) -> None:
        """Forget what was refused, and nothing of the trial that stands by then. Raises as `put`."""
        async with self._lock:
            await self._keep(Kept(self.current, {}))

    async def _keep(self, kept: Kept) -> None:
        if kept != self._kept:
            await anyio.to_thread.run_sync(write, self._path.parent, kept)
            self._kept = kept


def read(folder: Path) -> Kept:
    """Return what is kept; nothing where the file is missing or cannot be understood. Blocks."""
    try:
        return msgspec.json.decode(copies.read(folder / NAME, MAX_SIZE) or b"{}", type=Kept)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Kept()


def write(folder: Path, kept: Kept) -> None:
    """Blocks; raises TransientError."""
    while len(kept.refused) > MAX_REFUSED:
        kept.refused.pop(next(iter(kept.refused)))
    copies.write(folder / NAME, msgspec.json.encode(kept))
