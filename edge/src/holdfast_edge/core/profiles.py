"""Profiles: what an agent may take of a machine of a certain size. The one table of those numbers.

A profile says what edge.toml says where edge.toml says nothing, so whatever is written there wins.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Name = Literal["micro", "mini", "standard"]
MiB: Final = 1024 * 1024
_BELOW: Final[tuple[tuple[int, Name], ...]] = ((512, "micro"), (2048, "mini"))  # by MB of memory, below which


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent keeps to. `memory_mb`: of the agent and all it starts; beyond it the kernel takes pages back, and
    at twice as much it is started again (both by its unit)."""

    memory_mb: int
    changes_at_once: int  # resources being changed, and as many being prepared
    pulls_at_once: int  # images being fetched
    rows_at_once: int  # readings or records in one transaction of the outbox
    batches_at_once: int  # of a stream, on the way to the hub; the hub may grant fewer
    newest_kept: int  # series whose newest reading is kept in memory, to be shown at the site


class Profile(msgspec.Struct, frozen=True):
    budgets: Budgets
    quotas: Mapping[str, int]  # bytes of disk, by class of the outbox, and its reserve
    look_every_s: float  # between looks that nothing asked for

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return what this profile says, by table and key of edge.toml."""
        return {
            "budgets": msgspec.to_builtins(self.budgets),
            "quotas": dict(self.quotas),
            "timing": {"look_every_s": self.look_every_s},
        }


def _quotas(p0: int, p1: int, p2: int, p3: int, ballast: int) -> dict[str, int]:
    megabytes = {"p0": p0, "p1": p1, "p2": p2, "p3": p3, "ballast": ballast}
    return {name: size * MiB for name, size in megabytes.items()}


TABLE: Final[Mapping[Name, Profile]] = {
    "micro": Profile(Budgets(96, 2, 1, 2_000, 2, 500), _quotas(4, 2, 4, 24, 2), look_every_s=120.0),
    "mini": Profile(Budgets(128, 4, 2, 8_000, 8, 2_000), _quotas(8, 8, 16, 96, 4), look_every_s=60.0),
    "standard": Profile(Budgets(256, 16, 4, 16_000, 64, 10_000), _quotas(16, 16, 32, 256, 8), look_every_s=30.0),
}


def by_memory(megabytes: int) -> Name:
    """Return the profile of a machine with so much memory; 0 for one that does not say is a large one."""
    return next((name for below, name in _BELOW if 0 < megabytes < below), "standard")


def completed(values: Mapping[str, Any], name: Name) -> dict[str, Any]:
    """Return a file's values with the profile's wherever it says nothing. What is no table stays, to be refused."""
    found: dict[str, Any] = {**values, "profile": name}
    for table, defaults in TABLE[name].settings().items():
        said = found.get(table, {})
        found[table] = {**defaults, **said} if isinstance(said, dict) else said
    return found


def unit(program: str, config: str, budgets: Budgets) -> str:
    """Return the systemd unit that runs the agent within its budget. Both paths are absolute."""
    return f"""\
[Unit]
Description=Holdfast edge agent
After=network.target
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart={_word(program)} run --config {_word(config)}
Restart=always
RestartSec=1
WatchdogSec=60
MemoryAccounting=yes
MemoryHigh={budgets.memory_mb}M
MemoryMax={2 * budgets.memory_mb}M
OOMPolicy=continue
[Install]
WantedBy=multi-user.target
"""


def _word(text: str) -> str:
    """Return one word of an ExecStart line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(each in escaped for each in " \t\"'\\;") else escaped
