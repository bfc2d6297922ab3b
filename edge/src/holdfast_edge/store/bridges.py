"""The wanted bridges, durable, with all that their loops need; and how each one does."""

from pathlib import Path
from typing import Any

from holdfast_edge.store.sources import Sources
from holdfast_protocol.bridging.presets import filled
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.wire.messages import BridgeStatus
from holdfast_protocol.wire.names import ResourceKey

MAX_SHOWN = 50  # bridges in a node's status
FRESH = 60.0  # seconds for which figures of a status are good enough


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
