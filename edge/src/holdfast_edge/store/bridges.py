"""The wanted bridges, durable, with all that their loops need; and how each one does."""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from holdfast_edge.store.sources import Sources, sync_folder
from holdfast_protocol.bridging.presets import filled
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.messages import BridgeStatus
from holdfast_protocol.wire.names import ResourceKey

MAX_SHOWN = 50  # bridges in a node's status
FRESH = 60.0  # seconds for which figures of a status are good enough
_GONE: Final = ".gone"  # beside a queue: whose it was is let go
_ENDS: Final = (".db", ".db-wal", ".db-shm", ".damaged")  # of a queue's files


class Bridges:
    """`files` keeps what is wanted, `states` is what the loops report. Used from the event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Sources(folder / "wanted")
        self.states: dict[ResourceKey, BridgeState] = {}
        self._said: tuple[BridgeStatus, ...] = ()
        self._said_at = 0.0

    def wanting_readings(self) -> set[ResourceKey]:
        """Return the bridges with rules for readings. Blocks at the first use."""
        return {key for key, kept in self.files.kept.items() if _wants_readings(kept.spec)}

    def queue_path(self, name: str) -> Path:
        """Return where a bridge's queue is; names are DNS labels."""
        return self.folder / f"{name}.db"

    def forget(self, key: ResourceKey) -> None:
        """Let a bridge go; durable on return. What waits in its queue goes too, also when one of the same name is made at
        once. Blocks."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark(key).touch(mode=0o600)
        sync_folder(self.folder)
        self.files.forget(key)

    def begin(self, key: ResourceKey, name: str) -> None:
        """Delete the queue of one of this name that was let go. Blocks. Raises TransientError `DiskFull`."""
        mark = self._mark(key)
        if mark.exists():
            try:
                for end in _ENDS:
                    (self.folder / f"{name}{end}").unlink(missing_ok=True)
                sync_folder(self.folder)
                mark.unlink()
            except OSError as error:
                raise TransientError(f"{mark}: {error.strerror or error}", reason="DiskFull", after=5) from error

    def clear(self, names: Collection[str]) -> None:
        """Delete the queues of bridges that are wanted no more, and all that waits in them. Blocks.

        While a file of what is wanted cannot be read, any of them may be wanted."""
        if not self.folder.is_dir() or not self.files.is_whole:
            return
        for path in sorted(self.folder.iterdir(), key=lambda each: each.suffix == _GONE):  # marks last
            if path.is_file() and path.name.partition(".")[0] not in names:
                with contextlib.suppress(OSError):  # it is tried again with the next change
                    path.unlink(missing_ok=True)

    def _mark(self, key: ResourceKey) -> Path:
        return self.folder / f"{key.rpartition('/')[2]}{_GONE}"

    def shown(self, now: float) -> tuple[BridgeStatus, ...]:
        """Return how every bridge does, by name; `now` in seconds since boot."""
        return tuple(state.status(now) for _, state in sorted(self.states.items()))

    def said(self, now: float) -> tuple[BridgeStatus, ...]:
        """Return the same for the node's status: new figures are no news for a minute, another condition is at once."""
        fresh = self.shown(now)[:MAX_SHOWN]
        if now - self._said_at >= FRESH or _conditions(fresh) != _conditions(self._said):
            self._said, self._said_at = fresh, now
        return self._said


def _wants_readings(spec: dict[str, Any]) -> bool:
    rules = filled(spec).get("out") or ()
    return any(each.get("source") == "readings" and not each.get("off") for each in rules)


def _conditions(bridges: tuple[BridgeStatus, ...]) -> list[tuple[str, bool, str]]:
    return [(each.name, each.connected, each.reason) for each in bridges]
