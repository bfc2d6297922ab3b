"""The private links of the lab: addresses in 10.213.0.0/16, which go nowhere else.

Machine number N has 10.213.N.2, this side of its cable 10.213.N.1. `hub_address` puts one more address on a link of its own,
reached by every machine of the lab over its cable and by nobody else.
"""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from support.waiting import HANGS_S


def ip(*arguments: str, namespace_of: int | None = None) -> str:
    """Run `ip`, in the network namespace of the process `namespace_of` when given."""
    enter = ["nsenter", "-t", str(namespace_of), "-n", "--"] if namespace_of else []
    done = subprocess.run([*enter, "ip", *arguments], capture_output=True, text=True, timeout=HANGS_S, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def links() -> dict[str, dict[str, Any]]:
    """Return this host's links by name."""
    return {link["ifname"]: link for link in json.loads(ip("-j", "link", "show"))}


def remove(link: str) -> None:
    """Remove a link (of a cable: both ends); nothing to do when it is gone."""
    if link in links():
        try:
            ip("link", "del", link)
        except RuntimeError:
            if link in links():  # else: its namespace took it along just now
                raise


@dataclass(frozen=True)
class Cable:
    """The veth pair between this host and machine `number`."""

    number: int

    @property
    def link(self) -> str:
        return f"ve-hf{self.number}"

    @property
    def here(self) -> str:
        return f"10.213.{self.number}.1"

    @property
    def there(self) -> str:
        return f"10.213.{self.number}.2"

    def connect(self, leader: int, hub: str | None) -> None:
        """Give both ends their addresses and bring them up; `hub` is one more address to be reached through this end."""
        ip("route", "replace", *self._no_other_way)
        ip("addr", "replace", f"{self.here}/30", "dev", self.link)
        ip("link", "set", self.link, "up")
        ip("link", "set", "lo", "up", namespace_of=leader)
        ip("addr", "replace", f"{self.there}/30", "dev", "host0", namespace_of=leader)
        ip("link", "set", "host0", "up", namespace_of=leader)
        if hub:
            ip("route", "replace", f"{hub}/32", "via", self.here, namespace_of=leader)

    def disconnect(self) -> None:
        """Undo `connect`, however far it came."""
        remove(self.link)
        if self._no_other_way[1] in ip("route", "show", "type", "unreachable"):
            ip("route", "del", *self._no_other_way)

    @property
    def _no_other_way(self) -> tuple[str, ...]:
        """Without this route, packets for a machine whose cable is cut would leave by the default route."""
        return ("unreachable", f"10.213.{self.number}.0/30", "metric", "4000")

    def cut(self) -> None:
        ip("link", "set", self.link, "down")

    def restore(self) -> None:
        ip("link", "set", self.link, "up")


def hub_link(number: int) -> str:
    return f"hf-hub{number}"


def hub_address(number: int) -> str:
    return f"10.213.{number}.1"


def add_hub(number: int) -> str:
    """Make the hub's link and return its address. A bridge without ports: the one kind of link every engine needs anyway."""
    ip("link", "add", hub_link(number), "type", "bridge")
    ip("addr", "add", f"{hub_address(number)}/32", "dev", hub_link(number))
    ip("link", "set", hub_link(number), "up")
    return hub_address(number)
