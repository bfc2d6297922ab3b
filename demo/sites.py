"""The demo's three sites: real machines where that is possible, plain processes otherwise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support import machines, plain

REPOSITORY = machines.REPOSITORY
MOSQUITTO = "/usr/sbin/mosquitto"
STAGE = {"stage": "production"}
FOLDER = "/srv/inspection"  # of the blueprint's files, at every site
UNIT = "inspection-camera.service"
IMAGES = ("inspection:1", "inspection:2")


@dataclass(frozen=True)
class Place:
    """A site as the hub knows it."""

    name: str
    zone: str


LYON, TURIN, OSAKA = Place("lyon", "west-europe"), Place("turin", "west-europe"), Place("osaka", "east-asia")
PLACES = (LYON, TURIN, OSAKA)


class Site(Protocol):
    """One site of the demo, whatever it is made of."""

    @property
    def name(self) -> str: ...
    @property
    def lacks(self) -> Sequence[str]:
        """What a real machine would have and this site has not."""

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of the blueprint's resources that this site can keep."""

    @property
    def kit_options(self) -> Sequence[str]:
        """What `holdfast site add` must know of the site for its kit."""

    def join(self, kit: Path) -> None:
        """Start the agent with the hub's kit."""

    def start_devices(self, devices: Sequence[str], every_ms: float) -> None: ...
    def stop_devices(self) -> dict[str, int]:
        """Let the devices finish, and return the last number each of them sent."""

    def containers(self) -> list[str]:
        """Return `id image threshold` of each running container."""

    def remove_container(self, container: str) -> None: ...
    def unit_active(self, unit: str) -> bool: ...
    def stop_unit(self, unit: str) -> None: ...
    def read(self, path: str) -> str: ...
    def exists(self, path: str) -> bool: ...
    def write(self, path: str, content: str) -> None: ...
    def cut(self) -> None: ...
    def restore(self) -> None: ...
    def agent_log(self) -> str: ...
    def way_in(self) -> str:
        """Return the command by which a person gets into the site."""


class Ground(Protocol):
    """Where sites stand, and the address at which they all reach a hub on this machine."""

    @property
    def words(self) -> str:
        """What the sites are, for people."""

    @property
    def hub_address(self) -> str: ...

    @property
    def hub_port(self) -> int:
        """A port that is free there."""

    def boot(self, places: Sequence[Place]) -> list[Site]: ...


@contextmanager
def ground(folder: Path, *, lighter: bool) -> Iterator[Ground]:
    """Return the best ground this machine offers; at the end nothing of it is left. RuntimeError when there is none."""
    no_machines = "you asked for them" if lighter else machines.why_not()
    if not no_machines:
        from demo.booted import booted_ground

        with booted_ground() as booted:
            yield booted
        return
    no_namespaces = plain.why_not()
    if no_namespaces:
        raise RuntimeError(
            f"no machines can be booted here: {no_machines}; and no lighter sites either: {no_namespaces}"
        )
    from demo.lighter import lighter_ground

    with lighter_ground(folder, no_machines) as plain_ground:
        yield plain_ground
