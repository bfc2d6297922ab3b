"""What an ejected instance is made of while it is made: its files, the steps of its script, and what is left to people."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint.leaving.folder import Filing
from holdfast_hub.blueprint.render import Rendered
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

# In this order things are put on a machine: what others stand on first.
PACKAGES: Final = 10
GROUPS: Final = 15
USERS: Final = 20
MOUNTS: Final = 25
DIRECTORIES: Final = 30
FILES: Final = 35
KEYS: Final = 40
MODULES: Final = 45
SETTINGS: Final = 50
NAMES: Final = 55
NETWORK: Final = 60
FIREWALL: Final = 65
DOORS: Final = 68
CONTAINERS: Final = 70
SOCKETS: Final = 78
SERVICES: Final = 80
FOREIGN: Final = 82
TIMERS: Final = 85


class Step(msgspec.Struct, frozen=True):
    """Lines of the script, and the programs they need."""

    rank: int
    calls: tuple[str, ...]
    needs: frozenset[str] = frozenset()


class Left(msgspec.Struct, frozen=True):
    """A resource the script does not install, and why."""

    key: str
    why: str


class Room:
    """`scope` is everything references may lead to."""

    def __init__(self, instance: str, scope: Mapping[ResourceKey, Resource]) -> None:
        self.instance = instance
        self.scope = scope
        self.filing = Filing(instance)
        self.steps: list[Step] = []
        self.left: list[Left] = []
        self.remarks: list[str] = []
        self.people = False  # the script needs the part for packages and accounts
        self.modes: list[dict[str, Any]] = []  # of files and directories, for whoever sets them by hand

    def step(self, rank: int, calls: Iterable[str], *needs: str) -> None:
        self.steps.append(Step(rank, tuple(calls), frozenset(needs)))

    def leave(self, each: Rendered, why: str) -> None:
        self.left.append(Left(f"{each.body['kind']}/{each.body['metadata']['name']}", why))


def identity(*parts: str) -> str:
    """Return what the record of the script knows a thing by: the same in every version of the folder."""
    return digest(list(parts))[-16:]


def octal(mode: int | None) -> str:
    """Return a mode as stat(1) shows it; "" for one that is not said."""
    return "" if mode is None else format(mode, "o")
