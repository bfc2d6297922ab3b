"""Network interfaces where the change is cut off halfway: what was made stands, or is made anew, and nothing is forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.network.links import Link, Managed
from holdfast_edge.providers.network.live import Live
from holdfast_edge.providers.network.provider import NetworkInterfaceProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio


class FakeLive(Live):
    """systemd-networkd that makes a VLAN once, by the text it finds when there is no such interface, as the real one does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.made: dict[str, str] = {}  # by interface: the text it was made from
        self.deletes = True

    def links(self) -> dict[str, Link]:
        return {name: Link(name, up=True, carrier=True) for name in self.made}

    def managed(self) -> dict[str, Managed]:
        files = {name: next(iter(sorted(self._folder.glob("*.network"))), "") for name in self.made}
        return {name: Managed("configured", "routable", str(file)) for name, file in files.items()}

    def wait(self, fits: Callable[[], bool]) -> None:
        fits()

    def reload(self) -> None:
        for file in self._folder.glob("*.netdev"):
            text = file.read_text()
            name = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("Name="))
            self.made.setdefault(name, text)

    def reconfigure(self, interface: str) -> None:
        assert interface in self.made

    def delete(self, interface: str) -> None:
        if not self.deletes:
            raise TransientError("ip: no end within 30 s", reason="Deadline")
        del self.made[interface]


def vlan(number: int) -> Resource:
    spec: dict[str, Any] = {"interface": "shop", "vlan": {"id": number}}
    return target.resource(
        {
            "apiVersion": "holdfast.io/v1alpha1",
            "kind": "NetworkInterface",
            "metadata": {"name": "shop"},
            "spec": spec,
        }
    )


def provider(folder: Path, live: FakeLive) -> NetworkInterfaceProvider:
    """As after a start of the agent: nothing remembered but what is on disk."""
    return NetworkInterfaceProvider(Way("192.0.2.1", 1883), state=folder / "state", etc=folder / "etc", live=live)


async def look(it: NetworkInterfaceProvider, wanted: Resource) -> Observed:
    return (await it.observe([wanted], Scope({wanted.key: wanted})))[wanted.key]


async def test_a_made_interface_whose_change_was_cut_off_is_made_anew_by_the_next_try(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    live = FakeLive(tmp_path / "etc/systemd/network")
    first, second = vlan(7), vlan(8)
    await provider(tmp_path, live).apply(first, Scope({first.key: first}))
    assert "Id=7" in live.made["shop"]

    live.deletes = False  # the power goes, or ip hangs, when the files are written and the interface is not made anew
    with pytest.raises(TransientError):
        await provider(tmp_path, live).apply(second, Scope({second.key: second}))
    live.deletes = True

    again = provider(tmp_path, live)
    assert not (await look(again, second)).as_wanted
    await again.apply(second, Scope({second.key: second}))
    assert "Id=8" in live.made["shop"]
    assert (await look(again, second)).as_wanted

    await again.apply(second, Scope({second.key: second}))
    live.deletes = False  # a repair of what stands makes nothing anew
    await again.apply(second, Scope({second.key: second}))


class BridgeLive(FakeLive):
    """As systemd-networkd with a bridge that has one port, out of which somebody may take it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.master = ""

    def links(self) -> dict[str, Link]:
        return super().links() | {"port0": Link("port0", up=True, carrier=True, master=self.master)}

    def managed(self) -> dict[str, Managed]:
        return super().managed() | {"port0": Managed("configured", "enslaved", "")}

    def reconfigure(self, interface: str) -> None:
        if interface == "port0":
            self.master = "br0"


async def test_a_port_taken_out_of_its_bridge_is_missed_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    live = BridgeLive(tmp_path / "etc/systemd/network")
    spec = {"interface": "br0", "bridge": {"ports": ["port0"]}}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "NetworkInterface", "metadata": {"name": "cell"}}
    cell = target.resource(body | {"spec": spec})
    it = provider(tmp_path, live)
    await it.apply(cell, Scope({cell.key: cell}))
    live.master = "br0"
    assert (await look(it, cell)).as_wanted
    live.master = ""
    assert (await look(it, cell)).differences == ("ports: port0 is not in it",)
    await it.apply(cell, Scope({cell.key: cell}))
    assert live.master == "br0"
    assert (await look(it, cell)).as_wanted
